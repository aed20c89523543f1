//! Declarations of events and types in scripts of Zeek, written as the schema of a policy.
//!
//! Read is what stands outside of functions and handlers: `module`, `type`, `redef record` and
//! `global NAME: event(...)`. Everything else is passed over, so that scripts of newer versions can be read
//! as well. Both branches of `@if` are read.

use std::collections::{BTreeMap, BTreeSet};

/// Types inside of one another, as they are read and as they are written; a schema takes 16.
const DEPTH_MAX: usize = 12;

/// Arguments of an event, and fields of a record, that a schema takes.
const FIELDS_MAX: usize = 256;

/// Fields and arguments that one event is written with: records in records grow fast.
const WRITTEN_MAX: usize = 1024;

/// Names of types that stand for others, one after the other.
const ALIASES_MAX: usize = 32;

/// Types that a schema has under the same name.
const PLAIN: [&str; 11] = [
    "bool", "count", "int", "double", "time", "interval", "string", "pattern", "addr", "subnet",
    "port",
];

/// Instructions to Zeek's parser that go to the end of their line.
const DIRECTIVES: [&str; 12] = [
    "deprecated",
    "else",
    "endif",
    "if",
    "ifdef",
    "ifndef",
    "load",
    "load-plugin",
    "load-sigs",
    "pragma",
    "prefixes",
    "unload",
];

#[derive(Clone, Debug)]
enum Type {
    Any,
    Plain(&'static str),
    Vector(Box<Type>),
    Set(Vec<Type>),
    Table(Vec<Type>, Box<Type>),
    Record(Vec<Field>),
    /// By its name, in the module where that is written.
    Named {
        name: String,
        module: String,
    },
}

#[derive(Clone, Debug)]
struct Field {
    name: String,
    kind: Type,
    is_optional: bool,
}

/// What scripts declare.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    /// With each declaration that there is.
    events: BTreeMap<String, Vec<Vec<Field>>>,
    types: BTreeMap<String, Type>,
    /// Fields that are added to a record, which may be declared in a script that is read later.
    added: Vec<(String, String, Vec<Field>)>,
}

/// One event, as the line of a schema.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Declaration {
    pub(super) event: String,
    pub(super) text: String,
    /// Whether the line allows any arguments, as the scripts declare it in several ways or with too many.
    pub(super) is_open: bool,
}

impl Scripts {
    /// Adds what a script declares.
    pub(super) fn read(&mut self, text: &str) {
        Reader {
            tokens: Tokens::new(text),
            module: String::new(),
            scripts: self,
        }
        .statements();
    }

    /// The events that are meant, in the order of their names, and the types that they name and no script
    /// declares. Records that have a name get their fields `with_fields` only.
    pub(super) fn declarations(
        &self,
        with_fields: bool,
        is_meant: impl Fn(&str) -> bool,
    ) -> (Vec<Declaration>, BTreeSet<String>) {
        let mut types = self.types.clone();
        for (name, module, more) in &self.added {
            let own = qualified(name, module);
            let key = if types.contains_key(&own) { &own } else { name };
            if let Some(Type::Record(fields)) = types.get_mut(key) {
                fields.extend(more.iter().cloned());
            }
        }
        let mut writer = Writer {
            types: &types,
            with_fields,
            left: 0,
            unknown: BTreeSet::new(),
        };
        let meant = self.events.iter().filter(|(name, _)| is_meant(name));
        let declarations = meant.map(|(name, ways)| {
            let mut texts: Vec<_> = ways.iter().map(|way| writer.event(way)).collect();
            texts.sort();
            texts.dedup();
            let (text, is_open) = match texts.as_slice() {
                [Some(one)] => (format!("{name}({one})"), false),
                _ => (format!("{name}(...)"), true),
            };
            Declaration {
                event: name.clone(),
                text,
                is_open,
            }
        });
        (declarations.collect(), writer.unknown)
    }
}

// --- writing ---------------------------------------------------------------------------------------

struct Writer<'s> {
    types: &'s BTreeMap<String, Type>,
    with_fields: bool,
    /// How many more fields this event may have.
    left: usize,
    unknown: BTreeSet<String>,
}

impl Writer<'_> {
    fn event(&mut self, arguments: &[Field]) -> Option<String> {
        self.left = WRITTEN_MAX;
        self.fields(arguments, 0)
    }

    /// Nothing where there are too many.
    fn fields(&mut self, fields: &[Field], depth: usize) -> Option<String> {
        if fields.len() > FIELDS_MAX {
            return None;
        }
        self.left = self.left.checked_sub(fields.len())?;
        let fields: Vec<_> = fields
            .iter()
            .map(|field| {
                let optional = if field.is_optional { " &optional" } else { "" };
                format!(
                    "{}: {}{optional}",
                    field.name,
                    self.kind(&field.kind, depth)
                )
            })
            .collect();
        Some(fields.join(", "))
    }

    fn list(&mut self, types: &[Type], depth: usize) -> String {
        let types: Vec<_> = types.iter().map(|it| self.kind(it, depth)).collect();
        types.join(", ")
    }

    fn kind(&mut self, kind: &Type, depth: usize) -> String {
        let depth = depth.saturating_add(1);
        if depth > DEPTH_MAX {
            return "any".to_owned();
        }
        match kind {
            Type::Any => "any".to_owned(),
            Type::Plain(name) => (*name).to_owned(),
            Type::Vector(element) => format!("vector of {}", self.kind(element, depth)),
            Type::Set(index) => format!("set[{}]", self.list(index, depth)),
            Type::Table(index, yields) => {
                let index = self.list(index, depth);
                format!("table[{index}] of {}", self.kind(yields, depth))
            }
            Type::Record(fields) => match self.fields(fields, depth) {
                Some(fields) => format!("record({fields})"),
                None => "record".to_owned(),
            },
            Type::Named { name, module } => self.named(name, module, depth),
        }
    }

    fn named(&mut self, name: &str, module: &str, depth: usize) -> String {
        let types = self.types;
        let (mut name, mut module) = (name, module);
        for _ in 0..ALIASES_MAX {
            match find(types, name, module) {
                None => {
                    self.unknown.insert(name.to_owned());
                    return "any".to_owned();
                }
                Some(Type::Named {
                    name: next,
                    module: there,
                }) => {
                    (name, module) = (next, there);
                }
                Some(Type::Record(_)) if !self.with_fields => return "record".to_owned(),
                Some(found) => return self.kind(found, depth),
            }
        }
        "any".to_owned()
    }
}

/// A name without a module is looked up in its own first.
fn find<'t>(types: &'t BTreeMap<String, Type>, name: &str, module: &str) -> Option<&'t Type> {
    types
        .get(&qualified(name, module))
        .or_else(|| types.get(name))
}

/// The whole name of what a module declares.
fn qualified(name: &str, module: &str) -> String {
    if let Some(global) = name.strip_prefix("GLOBAL::") {
        global.to_owned()
    } else if module.is_empty() || name.contains("::") {
        name.to_owned()
    } else {
        format!("{module}::{name}")
    }
}

// --- reading ---------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'t> {
    Word(&'t str),
    Sign(char),
    /// A number, a string or a pattern.
    Literal,
}

struct Tokens<'t> {
    rest: &'t str,
    /// Whether a slash begins a pattern here, and divides nothing.
    may_be_pattern: bool,
    peeked: Option<Option<Token<'t>>>,
}

impl<'t> Tokens<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            rest: text,
            may_be_pattern: true,
            peeked: None,
        }
    }

    fn peek(&mut self) -> Option<Token<'t>> {
        match self.peeked {
            Some(token) => token,
            None => {
                let token = self.scan();
                self.peeked = Some(token);
                token
            }
        }
    }

    fn next(&mut self) -> Option<Token<'t>> {
        match self.peeked.take() {
            Some(token) => token,
            None => self.scan(),
        }
    }

    fn takes(&mut self, token: Token<'_>) -> bool {
        let is_next = self.peek() == Some(token);
        if is_next {
            self.next();
        }
        is_next
    }

    fn word(&mut self) -> Option<&'t str> {
        match self.peek() {
            Some(Token::Word(word)) => {
                self.next();
                Some(word)
            }
            _ => None,
        }
    }

    fn skip_line(&mut self) {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        self.rest = self.rest.get(end..).unwrap_or_default();
    }

    fn split(&mut self, end: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    fn scan(&mut self) -> Option<Token<'t>> {
        loop {
            self.rest = self.rest.trim_start();
            let first = self.rest.chars().next()?;
            match first {
                '#' => self.skip_line(),
                '@' => {
                    self.split(1);
                    let end = end_of(self.rest, |it| it.is_ascii_alphanumeric() || it == '-');
                    let word = self.split(end).to_ascii_lowercase();
                    if !DIRECTIVES.contains(&word.as_str()) {
                        self.may_be_pattern = false;
                        return Some(Token::Literal);
                    }
                    self.skip_line();
                }
                '"' => {
                    self.quoted('"');
                    self.may_be_pattern = false;
                    return Some(Token::Literal);
                }
                '/' if self.may_be_pattern && self.quoted('/') => {
                    self.may_be_pattern = false;
                    return Some(Token::Literal);
                }
                '0'..='9' => {
                    let end = end_of(self.rest, |it| it.is_ascii_alphanumeric() || it == '.');
                    self.split(end);
                    self.may_be_pattern = false;
                    return Some(Token::Literal);
                }
                'A'..='Z' | 'a'..='z' | '_' => {
                    let word = self.name();
                    self.may_be_pattern = matches!(word, "in" | "return");
                    return Some(Token::Word(word));
                }
                other => {
                    self.split(other.len_utf8());
                    self.may_be_pattern = !matches!(other, ')' | ']');
                    return Some(Token::Sign(other));
                }
            }
        }
    }

    /// Letters, digits and underscores, with `::` between them.
    fn name(&mut self) -> &'t str {
        let mut end = 0;
        loop {
            let rest = self.rest.get(end..).unwrap_or_default();
            let is_part = |it: char| it.is_ascii_alphanumeric() || it == '_';
            let more = end_of(rest, is_part);
            let behind = rest.get(more..).unwrap_or_default();
            end = end.saturating_add(more);
            match behind.strip_prefix("::") {
                Some(next) if next.starts_with(is_part) => end = end.saturating_add(2),
                _ => return self.split(end),
            }
        }
    }

    /// Passes over what ends with the sign that it begins with, on the same line; whether it does.
    fn quoted(&mut self, sign: char) -> bool {
        let mut is_escaped = false;
        for (at, it) in self.rest.char_indices().skip(1) {
            match it {
                '\n' => break,
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = true,
                _ if it == sign => {
                    self.split(at.saturating_add(1));
                    return true;
                }
                _ => {}
            }
        }
        if sign == '"' {
            self.skip_line();
        }
        false
    }
}

fn end_of(text: &str, is_part: impl Fn(char) -> bool) -> usize {
    text.find(|it| !is_part(it)).unwrap_or(text.len())
}

struct Reader<'t, 's> {
    tokens: Tokens<'t>,
    /// Empty for `GLOBAL`.
    module: String,
    scripts: &'s mut Scripts,
}

impl<'t> Reader<'t, '_> {
    fn statements(mut self) {
        while let Some(token) = self.tokens.next() {
            match token {
                Token::Word("module") => {
                    let name = self.tokens.word().unwrap_or_default();
                    self.module = if name == "GLOBAL" { "" } else { name }.to_owned();
                    self.skip_statement();
                }
                // What is in it is read like what is not; its end is passed over.
                Token::Word("export") => {
                    self.tokens.takes(Token::Sign('{'));
                }
                Token::Word("type") => self.type_declaration(),
                Token::Word("global") => self.global(),
                Token::Word("redef") => self.redefinition(),
                Token::Word("const" | "option") => self.skip_statement(),
                Token::Sign('{') => self.skip_balanced('}'),
                Token::Sign('}' | ';') => {}
                // Functions and handlers, and statements beside them.
                _ => self.skip_block(),
            }
        }
    }

    fn type_declaration(&mut self) {
        let name = self.tokens.word();
        if let Some(name) = name
            && self.tokens.takes(Token::Sign(':'))
        {
            let kind = self.kind(0);
            let name = qualified(name, &self.module);
            self.scripts.types.insert(name, kind);
        }
        self.skip_statement();
    }

    fn global(&mut self) {
        if let Some(name) = self.tokens.word()
            && self.tokens.takes(Token::Sign(':'))
            && self.tokens.takes(Token::Word("event"))
            && self.tokens.takes(Token::Sign('('))
        {
            let arguments = self.fields(')', 0);
            let name = qualified(name, &self.module);
            self.scripts.events.entry(name).or_default().push(arguments);
        }
        self.skip_statement();
    }

    /// `redef record NAME += { fields };`
    fn redefinition(&mut self) {
        if self.tokens.takes(Token::Word("record"))
            && let Some(name) = self.tokens.word()
            && self.tokens.takes(Token::Sign('+'))
            && self.tokens.takes(Token::Sign('='))
            && self.tokens.takes(Token::Sign('{'))
        {
            let more = self.fields('}', 0);
            let added = (name.to_owned(), self.module.clone(), more);
            self.scripts.added.push(added);
        }
        self.skip_statement();
    }

    /// Arguments, or fields of a record, up to and with the sign that ends them.
    fn fields(&mut self, end: char, depth: usize) -> Vec<Field> {
        let mut fields = Vec::new();
        while let Some(token) = self.tokens.peek() {
            if token == Token::Sign(end) {
                self.tokens.next();
                break;
            }
            let Some(name) = self.tokens.word() else {
                self.tokens.next();
                continue;
            };
            if !self.tokens.takes(Token::Sign(':')) {
                continue;
            }
            let kind = self.kind(depth);
            let is_optional = self.attributes(end);
            fields.push(Field {
                name: name.to_owned(),
                kind,
                is_optional,
            });
        }
        fields
    }

    /// Passes over what stands behind a type; whether `&optional` is there.
    fn attributes(&mut self, end: char) -> bool {
        let mut is_optional = false;
        while let Some(token) = self.tokens.peek() {
            match token {
                Token::Sign(',' | ';') => {
                    self.tokens.next();
                    break;
                }
                Token::Sign(sign) if sign == end => break,
                Token::Sign(sign) => {
                    self.tokens.next();
                    match closing(sign) {
                        Some(close) => self.skip_balanced(close),
                        None if sign == '&' => {
                            is_optional |= self.tokens.takes(Token::Word("optional"));
                        }
                        None => {}
                    }
                }
                _ => {
                    self.tokens.next();
                }
            }
        }
        is_optional
    }

    fn kind(&mut self, depth: usize) -> Type {
        let depth = depth.saturating_add(1);
        let Some(word) = self.tokens.word().filter(|_| depth <= DEPTH_MAX) else {
            return Type::Any;
        };
        if let Some(plain) = PLAIN.iter().find(|plain| **plain == word) {
            return Type::Plain(plain);
        }
        match word {
            "enum" => {
                if self.tokens.takes(Token::Sign('{')) {
                    self.skip_balanced('}');
                }
                Type::Plain("enum")
            }
            "vector" if self.tokens.takes(Token::Word("of")) => {
                Type::Vector(Box::new(self.kind(depth)))
            }
            "set" => self.index(depth).map_or(Type::Any, Type::Set),
            "table" => match self.index(depth) {
                Some(index) if self.tokens.takes(Token::Word("of")) => {
                    Type::Table(index, Box::new(self.kind(depth)))
                }
                _ => Type::Any,
            },
            "record" => {
                if self.tokens.takes(Token::Sign('{')) {
                    Type::Record(self.fields('}', depth))
                } else {
                    Type::Any
                }
            }
            "opaque" | "file" | "list" => {
                if self.tokens.takes(Token::Word("of")) {
                    self.kind(depth);
                }
                Type::Any
            }
            "function" | "event" | "hook" => {
                if self.tokens.takes(Token::Sign('(')) {
                    self.skip_balanced(')');
                }
                if self.tokens.takes(Token::Sign(':')) {
                    self.kind(depth);
                }
                Type::Any
            }
            "any" | "vector" => Type::Any,
            name => Type::Named {
                name: name.to_owned(),
                module: self.module.clone(),
            },
        }
    }

    /// The types between square brackets.
    fn index(&mut self, depth: usize) -> Option<Vec<Type>> {
        if !self.tokens.takes(Token::Sign('[')) {
            return None;
        }
        let mut types = vec![self.kind(depth)];
        while self.tokens.takes(Token::Sign(',')) {
            types.push(self.kind(depth));
        }
        self.tokens.takes(Token::Sign(']')).then_some(types)
    }

    /// Passes over the rest of a statement, with its semicolon; what it is in may end before.
    fn skip_statement(&mut self) {
        while self.skip_one().is_some_and(|it| it != Token::Sign(';')) {}
    }

    /// As [`skip_statement`](Self::skip_statement), for what also ends with a block.
    fn skip_block(&mut self) {
        while self
            .skip_one()
            .is_some_and(|it| !matches!(it, Token::Sign(';' | '{')))
        {}
    }

    /// Passes over one token and what it opens; nothing where that ends what it is in.
    fn skip_one(&mut self) -> Option<Token<'t>> {
        let token = self.tokens.peek().filter(|it| *it != Token::Sign('}'))?;
        self.tokens.next();
        if let Token::Sign(sign) = token
            && let Some(close) = closing(sign)
        {
            self.skip_balanced(close);
        }
        Some(token)
    }

    /// Passes over everything up to the sign that closes what was opened.
    fn skip_balanced(&mut self, close: char) {
        let mut open = vec![close];
        while let Some(expected) = open.last() {
            match self.tokens.next() {
                None => return,
                Some(Token::Sign(sign)) if sign == *expected => {
                    open.pop();
                }
                Some(Token::Sign(sign)) => open.extend(closing(sign)),
                Some(Token::Word(_) | Token::Literal) => {}
            }
        }
    }
}

fn closing(sign: char) -> Option<char> {
    match sign {
        '(' => Some(')'),
        '[' => Some(']'),
        '{' => Some('}'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(text: &str, with_fields: bool) -> Vec<String> {
        let mut scripts = Scripts::default();
        scripts.read(text);
        let (declarations, _) = scripts.declarations(with_fields, |_| true);
        declarations.into_iter().map(|it| it.text).collect()
    }

    #[test]
    fn declarations_are_found_among_everything_else() {
        let text = r##"
            @load base/frameworks/notice  # not "read"
            module NetControl;
            export {
                ## A comment with { and ".
                type Rule: record { id: string; cost: count &default = 5; why: string &optional; };
                type Kind: enum { DROP, MONITOR };
                type Hosts: set[addr];
                const limit = 5 &redef;
                option ignored: set[subnet] = { 10.0.0.0/8, [fe80::]/10 };
                global add_rule: event(id: string, hosts: Hosts, rule: Rule &default=[$id="a;)"]);
                global what: function(x: count): bool;
                global removed: event(kind: Kind, seen: table[addr, port] of vector of time);
            }
            redef record Rule += { more: interval &optional &log; };
            redef ignored += { 192.0.2.0/24 };
            const pattern = /global x: event\(\);\/{/ | /b/;
            function what(x: count): bool
                {
                global inner: event(a: count);
                if ( x / 2 == 1 ) { return /}/ in "}"; }
                return F;
                }
            event zeek_init() &priority=5 { local a = "global b: event();"; }
            global ended: event();
            module GLOBAL;
            global plain: event(a: any, b: opaque of md5, c: NetControl::Kind, d: file, e: set[bool, int]);
            global GLOBAL::named: event(r: record { a: count; b: double; });
        "##;
        assert_eq!(
            schema(text, true),
            [
                "NetControl::add_rule(id: string, hosts: set[addr], rule: record(id: string, cost: count, \
                 why: string &optional, more: interval &optional))",
                "NetControl::ended()",
                "NetControl::removed(kind: enum, seen: table[addr, port] of vector of time)",
                "named(r: record(a: count, b: double))",
                "plain(a: any, b: any, c: enum, d: any, e: set[bool, int])",
            ]
        );
        assert_eq!(
            schema(text, false)[0],
            "NetControl::add_rule(id: string, hosts: set[addr], rule: record)"
        );
    }

    #[test]
    fn fields_may_be_added_before_their_record_is_read() {
        let text = "redef record M::R += { b: int; }; module M; type R: record { a: count; };
            global x: event(r: R);";
        assert_eq!(schema(text, true), ["M::x(r: record(a: count, b: int))"]);
    }

    #[test]
    fn names_are_looked_up_in_their_module_first() {
        let text = "type T: count; type U: string; module M; type T: addr; type V: T;
            global a: event(t: T, u: U, v: V, w: W::X); module N; global a: event(t: T, v: M::V);";
        let mut scripts = Scripts::default();
        scripts.read(text);
        let (declarations, unknown) = scripts.declarations(false, |name| name.starts_with("M::"));
        assert_eq!(declarations.len(), 1);
        assert_eq!(
            declarations[0].text,
            "M::a(t: addr, u: string, v: addr, w: any)"
        );
        assert_eq!(unknown.into_iter().collect::<Vec<_>>(), ["W::X"]);
        assert_eq!(schema(text, false)[1], "N::a(t: count, v: addr)");
    }

    #[test]
    fn what_is_declared_in_several_ways_takes_any_arguments() {
        let text = "global a: event(x: count); global a: event(x: count);
            global b: event(x: count); global b: event(x: count, y: count) &deprecated;";
        let mut scripts = Scripts::default();
        scripts.read(text);
        let (declarations, _) = scripts.declarations(false, |_| true);
        let found: Vec<_> = declarations
            .iter()
            .map(|it| (it.text.as_str(), it.is_open))
            .collect();
        assert_eq!(found, [("a(x: count)", false), ("b(...)", true)]);
    }

    #[test]
    fn no_text_is_too_odd() {
        let deep = format!("global a: event(x: {}count);", "vector of ".repeat(100_000));
        let nested = format!("type R: {}", "record { a: ".repeat(100_000));
        let circle = "type A: B; type B: A; type R: record { r: vector of R; };
            global a: event(a: A, r: R);";
        let texts = [
            deep.as_str(),
            nested.as_str(),
            circle,
            "type R: record { a: R; b: R; c: R; d: R; }; global a: event(r: R);",
            "global a: event(",
            "global a: event(x: set[",
            "type",
            "redef record",
            "\"",
            "/",
            "@",
            "@if",
            "export { export { }",
            "}}}}",
            "((((",
            "module",
            "\u{1F980} global a: event(\u{e9}: count);",
        ];
        for text in texts {
            for line in schema(text, true) {
                assert!(line.len() < 100_000, "{line}");
            }
        }
        let line = &schema(circle, true)[0];
        assert!(
            line.starts_with("a(a: any, r: record(r: vector of record("),
            "{line}"
        );
    }

    #[test]
    fn an_event_has_no_more_arguments_than_a_schema_takes() {
        let arguments: Vec<_> = (0..300).map(|number| format!("a{number}: count")).collect();
        let text = format!("global a: event({});", arguments.join(", "));
        assert_eq!(schema(&text, true), ["a(...)"]);
    }
}
