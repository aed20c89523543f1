//! Expressions of `--where`: `name == "ping" and args[1] > 5`.
//!
//! | written | true when |
//! |---|---|
//! | `A == B`, `!=`, `<`, `<=`, `>`, `>=` | they compare so; numbers of all kinds with each other |
//! | `A in B` | the subnet has the address, the set or vector the value, the table the key, the text the text |
//! | `A contains B` | `B in A` |
//! | `A ~ "pattern"` | the text fits the pattern, with `*` and `?` |
//! | `A` | it is there and is neither `none` nor `false` |
//! | `not X`, `X and Y`, `X or Y`, `(X)` | as usual; also `!`, `&&`, `\|\|` |
//!
//! `A` and `B` are parts of what is looked at (of a message: see `path`; of a log record: see
//! `commands::logs::field`) or values. What compares a part that is not there is false, and so is
//! what compares kinds that have no order among each other.

use std::cmp::Ordering;
use std::marker::PhantomData;

use broker::Value;

use crate::literal::{LiteralError, Parser};
use crate::path::Path;
use crate::pattern;

/// Parentheses and negations inside one another; each is a step of recursion.
const DEPTH_MAX: usize = 100;

/// What an expression can name.
pub(crate) trait Part: Sized {
    /// The names, for those who write one that there is not.
    const NAMES: &'static str;

    /// Reads a name at a byte of a text; returns it with the byte behind it, or nothing if what
    /// stands there is no name.
    ///
    /// # Errors
    ///
    /// When it begins like a name and does not go on like one.
    fn read(text: &str, at: usize, side: Side) -> Result<Option<(Self, usize)>, LiteralError>;
}

/// Where in a comparison something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Before the operator, or without one.
    Left,
    /// Behind it.
    Right,
}

/// An expression that is true or false of a message or of something else with parts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Condition<P = Path> {
    Or(Vec<Condition<P>>),
    And(Vec<Condition<P>>),
    Not(Box<Condition<P>>),
    Compare(Operand<P>, Operator, Operand<P>),
    Exists(Operand<P>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand<P = Path> {
    Part(P),
    Value(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Matches,
    In,
    Contains,
}

/// Longer ones first where one begins another.
const OPERATORS: [(&str, Operator); 9] = [
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
    ("~", Operator::Matches),
    ("in", Operator::In),
    ("contains", Operator::Contains),
];

impl<P: Part> Condition<P> {
    /// Reads an expression.
    ///
    /// # Errors
    ///
    /// Says what is wrong and where.
    pub(crate) fn parse(text: &str) -> Result<Self, LiteralError> {
        let mut reader = Reading {
            text,
            at: 0,
            depth: 0,
            parts: PhantomData,
        };
        let condition = reader.any()?;
        reader.skip_blanks();
        let rest = reader.rest();
        if rest.is_empty() {
            return Ok(condition);
        }
        let error = reader.error(
            rest.len(),
            "expected `and`, `or` or the end of the expression",
        );
        Err(if rest.starts_with('=') {
            error.hint("equality is written `==`")
        } else {
            error
        })
    }

    /// Whether it is true of something whose parts `find` looks up.
    pub(crate) fn holds(&self, find: &dyn Fn(&P) -> Option<Value>) -> bool {
        match self {
            Self::Or(any) => any.iter().any(|it| it.holds(find)),
            Self::And(all) => all.iter().all(|it| it.holds(find)),
            Self::Not(inner) => !inner.holds(find),
            Self::Exists(operand) => !matches!(
                operand.find(find),
                None | Some(Value::None | Value::Boolean(false))
            ),
            Self::Compare(left, operator, right) => match (left.find(find), right.find(find)) {
                (Some(left), Some(right)) => operator.holds(&left, &right),
                _ => false,
            },
        }
    }

    /// Visits the parts that it names.
    pub(crate) fn for_each_part(&self, visit: &mut dyn FnMut(&P)) {
        match self {
            Self::Or(all) | Self::And(all) => all.iter().for_each(|it| it.for_each_part(visit)),
            Self::Not(inner) => inner.for_each_part(visit),
            Self::Exists(operand) => operand.for_each_part(visit),
            Self::Compare(left, _, right) => {
                left.for_each_part(visit);
                right.for_each_part(visit);
            }
        }
    }
}

impl<P> Operand<P> {
    fn find(&self, find: &dyn Fn(&P) -> Option<Value>) -> Option<Value> {
        match self {
            Self::Value(value) => Some(value.clone()),
            Self::Part(part) => find(part),
        }
    }

    fn for_each_part(&self, visit: &mut dyn FnMut(&P)) {
        if let Self::Part(part) = self {
            visit(part);
        }
    }
}

impl Operator {
    fn holds(self, left: &Value, right: &Value) -> bool {
        let order = || compare(left, right);
        match self {
            Self::Equal => order() == Some(Ordering::Equal),
            Self::Unequal => order() != Some(Ordering::Equal),
            Self::Less => order() == Some(Ordering::Less),
            Self::LessOrEqual => order().is_some_and(Ordering::is_le),
            Self::Greater => order() == Some(Ordering::Greater),
            Self::GreaterOrEqual => order().is_some_and(Ordering::is_ge),
            Self::Matches => match (text(left), text(right)) {
                (Some(left), Some(right)) => pattern::matches(right, left),
                _ => false,
            },
            Self::In => is_in(left, right),
            Self::Contains => is_in(right, left),
        }
    }
}

/// The bytes of a string or of a name.
fn text(value: &Value) -> Option<&[u8]> {
    match value {
        Value::String(text) => Some(text.as_bytes()),
        Value::EnumValue(name) => Some(name.as_bytes()),
        _ => None,
    }
}

/// The order of two values of kinds that can be compared.
fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    if let (Some(left), Some(right)) = (text(left), text(right)) {
        return Some(left.cmp(right));
    }
    if left.kind() == right.kind() {
        return Some(left.cmp(right));
    }
    match (whole(left), whole(right)) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => real(left)?.partial_cmp(&real(right)?),
    }
}

/// A port compares with numbers as the number that Zeek's logs show of it.
fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Count(number) => Some((*number).into()),
        Value::Integer(number) => Some((*number).into()),
        Value::Port(port) => Some(port.number().into()),
        _ => None,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a count or int that is compared with a real is one to 53 bits"
)]
fn real(value: &Value) -> Option<f64> {
    match value {
        Value::Real(number) => Some(*number),
        other => whole(other).map(|number| number as f64),
    }
}

fn is_in(element: &Value, container: &Value) -> bool {
    let is_equal = |other: &Value| compare(element, other) == Some(Ordering::Equal);
    match container {
        Value::Set(set) => set.iter().any(is_equal),
        Value::Vector(elements) => elements.iter().any(is_equal),
        Value::Table(table) => table.keys().any(is_equal),
        Value::Subnet(subnet) => match element {
            Value::Address(address) => subnet.contains(address),
            _ => false,
        },
        other => match (text(other), text(element)) {
            (Some(_), Some([])) => true,
            (Some(long), Some(part)) => long.windows(part.len()).any(|window| window == part),
            _ => false,
        },
    }
}

/// Where the reading is.
struct Reading<'t, P> {
    text: &'t str,
    at: usize,
    depth: usize,
    parts: PhantomData<P>,
}

impl<'t, P: Part> Reading<'t, P> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn error(&self, length: usize, what: &str) -> LiteralError {
        LiteralError::new(self.text, self.at, length, what)
    }

    /// Takes a sign or a word that ends there.
    fn take(&mut self, token: &str) -> bool {
        self.skip_blanks();
        let Some(behind) = self.rest().strip_prefix(token) else {
            return false;
        };
        let is_word = token.starts_with(|c: char| c.is_alphabetic());
        let goes_on = behind.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':'));
        if is_word && goes_on {
            return false;
        }
        self.at += token.len();
        true
    }

    fn any(&mut self) -> Result<Condition<P>, LiteralError> {
        let mut parts = vec![self.all()?];
        while self.take("or") || self.take("||") {
            parts.push(self.all()?);
        }
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => Condition::Or(parts),
        })
    }

    fn all(&mut self) -> Result<Condition<P>, LiteralError> {
        let mut parts = vec![self.one()?];
        while self.take("and") || self.take("&&") {
            parts.push(self.one()?);
        }
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => Condition::And(parts),
        })
    }

    fn one(&mut self) -> Result<Condition<P>, LiteralError> {
        self.skip_blanks();
        if self.depth >= DEPTH_MAX {
            return Err(self.error(1, "expected fewer parts inside one another"));
        }
        self.depth += 1;
        let condition = self.one_inside()?;
        self.depth -= 1;
        Ok(condition)
    }

    fn one_inside(&mut self) -> Result<Condition<P>, LiteralError> {
        let is_unequal = self.rest().starts_with("!=");
        if self.take("not") || (!is_unequal && self.take("!")) {
            return Ok(Condition::Not(Box::new(self.one()?)));
        }
        if self.take("(") {
            let inner = self.any()?;
            return if self.take(")") {
                Ok(inner)
            } else {
                Err(self.error(0, "expected `)`"))
            };
        }
        let left = self.operand(Side::Left)?;
        let operator = OPERATORS.iter().find(|(token, _)| self.take(token));
        let Some((_, operator)) = operator else {
            return Ok(Condition::Exists(left));
        };
        Ok(Condition::Compare(
            left,
            *operator,
            self.operand(Side::Right)?,
        ))
    }

    fn operand(&mut self, side: Side) -> Result<Operand<P>, LiteralError> {
        self.skip_blanks();
        if let Some((part, end)) = P::read(self.text, self.at, side)? {
            self.at = end;
            return Ok(Operand::Part(part));
        }
        if self.rest().is_empty() || self.rest().starts_with(['=', '<', '>', '&', '|', ')', '~']) {
            let error = self.error(
                1.min(self.rest().len()),
                "expected the name of a part or a value",
            );
            return Err(error.hint(format!("the parts are {}", P::NAMES)));
        }
        let mut parser = Parser::new(self.text, self.at);
        let value = parser.operand()?;
        self.at = parser.position();
        Ok(Operand::Value(value))
    }
}

#[cfg(test)]
mod tests {
    use broker::data::to_bytes;
    use broker::zeek::EventBuilder;
    use broker::{Timestamp, View};
    use proptest::prelude::*;

    use super::*;
    use crate::incoming::Incoming;
    use crate::literal;

    fn holds(condition: &str, arguments: &str) -> bool {
        let condition: Condition =
            Condition::parse(condition).unwrap_or_else(|error| panic!("{error}"));
        let Ok(Value::Vector(arguments)) = literal::parse(arguments) else {
            panic!("arguments are a vector");
        };
        let event = arguments
            .iter()
            .fold(EventBuilder::new("Log::ev"), EventBuilder::argument);
        let bytes = to_bytes(&event).expect("an event");
        let view = View::new(&bytes).expect("an encoded value");
        let message = Incoming::new(Timestamp::EPOCH, b"/a/b", view);
        condition.holds(&|path| path.value(&message))
    }

    #[test]
    fn comparisons() {
        for (condition, arguments, expected) in [
            ("name == Log::ev", "[]", true),
            ("name == \"Log::ev\"", "[]", true),
            ("name != x", "[]", true),
            ("name ~ Log::*", "[]", true),
            ("topic ~ \"/a/*\"", "[]", true),
            ("topic contains /b", "[]", true),
            ("args[0] == 5", "[5c]", true),
            ("args[0] == 5.0", "[5c]", true),
            ("args[0]>5", "[18446744073709551615c]", true),
            ("args[0] < -1", "[-2]", true),
            ("args[0] < 1.5", "[1]", true),
            ("args[0] < 1", "[\"0\"]", false),
            ("args[1] == 5", "[5]", false),
            ("args[1] != 5", "[5]", false),
            ("args[0] in 10.0.0.0/8", "[10.1.2.3]", true),
            ("args[0] in 10.0.0.0/8", "[11.1.2.3]", false),
            ("args[0] in {22/tcp, 443/tcp}", "[443/tcp]", true),
            ("args[0] == 443", "[443/tcp]", true),
            ("5 in args[0]", "[{5c}]", true),
            ("args[0] contains k", "[{k: v}]", true),
            ("args[0][k] == v", "[{k: v}]", true),
            ("args[0] >= 2s", "[1min]", true),
            ("time < 1970-01-01T00:00:01Z", "[]", true),
            ("args[0] == enum:A::B", "[enum:A::B]", true),
            ("args[0] == A::B", "[enum:A::B]", true),
            ("args[0]", "[true]", true),
            ("args[0]", "[none]", false),
            ("args[0]", "[0]", true),
            ("!args[0]", "[false]", true),
        ] {
            assert_eq!(
                holds(condition, arguments),
                expected,
                "{condition} of {arguments}"
            );
        }
    }

    #[test]
    fn and_binds_closer_than_or() {
        for (condition, expected) in [
            ("true or false and false", true),
            ("(true or false) and false", false),
            ("not false and false", false),
            ("not (false and false)", true),
            ("!true||true&&true", true),
            ("not not true", true),
        ] {
            assert_eq!(holds(condition, "[]"), expected, "{condition}");
        }
    }

    #[test]
    fn a_wrong_expression_is_shown_with_its_place() {
        for (condition, excerpt) in [
            ("name = x", "name = x\n     ^^^"),
            ("name ==", "name ==\n       ^"),
            ("(name == x", "(name == x\n          ^"),
            (
                "name == 10.0.0.300",
                "name == 10.0.0.300\n        ^^^^^^^^^^",
            ),
            ("args[0 == 1", "args[0 == 1\n       ^"),
            ("", "\n^"),
            ("a b", "a b\n  ^"),
        ] {
            let error = Condition::<Path>::parse(condition).expect_err(condition);
            assert_eq!(error.excerpt(), excerpt, "{error}");
        }
        assert!(Condition::<Path>::parse(&"(".repeat(1000)).is_err());
        assert!(Condition::<Path>::parse(&"!".repeat(1000)).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_text_makes_it_panic(
            text in "(?:[a-z0-9 \"é]|==|!=|[()<>!~]|args\\[|\\]|name| and | or | not | in ){0,16}"
        ) {
            if let Err(error) = Condition::<Path>::parse(&text) {
                prop_assert!(!error.excerpt().is_empty());
            }
        }

        #[test]
        fn numbers_compare_as_numbers(a in any::<i32>(), b in any::<i32>()) {
            let condition = format!("args[0] < {b}");
            prop_assert_eq!(holds(&condition, &format!("[{a}]")), a < b);
            prop_assert_eq!(holds(&condition, &format!("[{:?}]", f64::from(a))), a < b);
        }
    }
}
