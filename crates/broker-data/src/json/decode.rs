//! Reads values: JSON text to encoded bytes.

use std::cmp::Ordering;

use crate::bin::compare::compare_ordered;
use crate::bin::encode::{put_varbyte, set_count};
use crate::bin::order::{Equals, places, settle};
use crate::bin::real;
use crate::json::error::JsonErrorKind;
use crate::json::fields::Field;
use crate::json::scan::{Failed, Number, Quoted, Scanned, Scanner};
use crate::json::{Form, JsonError, scalar};
use crate::{DEPTH_MAX, Kind};

const A_TYPE: &str = "a field `@data-type` with the name of a type";
const A_VALUE: &str = "an object with `@data-type` and `data`";
const AN_ENTRY: &str = "an object with `key` and `value`";
const A_REAL: &str = "a number that a real can hold";
const AN_ARRAY: &str = "an array";

/// Reads one value from a text and appends its encoded bytes to `out`.
///
/// Sets and tables come out in ascending order, whatever their order in the text. On failure
/// `out` is as it was before.
///
/// ```
/// use broker_data::View;
/// use broker_data::json::{self, Form};
///
/// let mut bytes = Vec::new();
/// json::decode(br#"{"@data-type": "port", "data": "80/tcp"}"#, Form::Compatible, &mut bytes)?;
/// assert_eq!(View::new(&bytes)?.to_string(), "80/tcp");
///
/// let error = json::decode(br#"{"@data-type":"count","data":-1}"#, Form::Compatible, &mut bytes);
/// let error = error.unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "contained invalid data: expected an integer from 0 to 2^64 - 1 at byte 29"
/// );
/// assert_eq!(error.code(), "deserialization_failed");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// When the text is not JSON, is not a value, nests too deeply, or holds the same element or key
/// twice in a set or table; see [`JsonErrorKind`].
pub fn decode(text: &[u8], form: Form, out: &mut Vec<u8>) -> Result<(), JsonError> {
    decode_named(text, form, [], out).map(|[]| ())
}

/// Reads one value from a text that is nothing else.
///
/// # Errors
///
/// The same as those of [`decode`].
pub fn from_text(text: &[u8], form: Form) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::new();
    decode(text, form, &mut out)?;
    Ok(out)
}

/// Reads one value, and from the object that it is the first field of each name.
pub(crate) fn decode_named<'t, const N: usize>(
    text: &'t [u8],
    form: Form,
    names: [&str; N],
    out: &mut Vec<u8>,
) -> Result<[Field<'t>; N], JsonError> {
    let start = out.len();
    let mut decoder = Decoder {
        scanner: Scanner::new(text, form),
        out,
        depth: 0,
        ahead: Ahead::default(),
    };
    match decoder.root(names) {
        Ok(found) => Ok(found),
        Err(Failed) => {
            let error = decoder.scanner.error();
            out.truncate(start);
            Err(error)
        }
    }
}

/// The name of a field.
enum Name<'t> {
    DataType,
    Data,
    Other(Quoted<'t>),
}

impl<'t> Name<'t> {
    /// Returns a name that is not one of a value.
    const fn other(self) -> Option<Quoted<'t>> {
        match self {
            Self::Other(name) => Some(name),
            Self::DataType | Self::Data => None,
        }
    }
}

/// What is known of a value while the fields of its object are read.
#[derive(Clone, Copy, Default)]
struct Tagged {
    kind: Option<Kind>,
    /// The data was written.
    done: bool,
}

/// Recursion is bounded: each level of it opens an object, and levels are limited.
struct Decoder<'t, 'o> {
    scanner: Scanner<'t>,
    out: &'o mut Vec<u8>,
    /// Number of containers around.
    depth: usize,
    /// Objects with `data` before `@data-type` that were looked into ahead of time.
    ahead: Ahead,
}

impl<'t> Decoder<'t, '_> {
    /// Reads the whole text.
    fn root<const N: usize>(&mut self, names: [&str; N]) -> Scanned<[Field<'t>; N]> {
        self.scanner.blank();
        let start = self.scanner.position();
        if self.scanner.peek() != Some(b'{') {
            self.scanner.skip()?;
            self.scanner.end()?;
            return Err(self.scanner.fail(start, JsonErrorKind::NotAnObject));
        }
        let mut found = [const { Field::Missing }; N];
        let mut tagged = Tagged::default();
        if self.scanner.open(b'}')? {
            loop {
                let name = self.name()?;
                if !self.field(&name, &mut tagged, start)? {
                    Field::take(&mut self.scanner, name.other(), names, &mut found)?;
                }
                if !self.scanner.more(b'}')? {
                    break;
                }
            }
        }
        self.scanner.end()?;
        self.complete(tagged, start)?;
        Ok(found)
    }

    /// Reads a value inside of another one.
    fn value(&mut self) -> Scanned<()> {
        if self.scanner.peek() != Some(b'{') {
            return Err(self.scanner.mismatch(A_VALUE));
        }
        let start = self.scanner.position();
        let mut tagged = Tagged::default();
        if self.scanner.open(b'}')? {
            loop {
                let name = self.name()?;
                if !self.field(&name, &mut tagged, start)? {
                    self.scanner.skip()?;
                }
                if !self.scanner.more(b'}')? {
                    break;
                }
            }
        }
        self.complete(tagged, start)
    }

    /// Takes the name of a field and the colon behind it.
    #[inline]
    fn name(&mut self) -> Scanned<Name<'t>> {
        // Programs write these without escapes, and without a blank in front of the colon.
        let usual = if self.scanner.take(br#""@data-type":"#) {
            Name::DataType
        } else if self.scanner.take(br#""data":"#) {
            Name::Data
        } else {
            return self.unusual_name();
        };
        self.scanner.blank();
        Ok(usual)
    }

    #[inline(never)]
    fn unusual_name(&mut self) -> Scanned<Name<'t>> {
        let name = self.scanner.name()?;
        Ok(if name.is("@data-type") {
            Name::DataType
        } else if name.is("data") {
            Name::Data
        } else {
            Name::Other(name)
        })
    }

    /// Reads a field if it is one of a value that was not there before; the object of the value
    /// begins at `start`.
    #[inline]
    fn field(&mut self, name: &Name<'t>, tagged: &mut Tagged, start: usize) -> Scanned<bool> {
        match (name, tagged.kind) {
            (Name::DataType, None) => tagged.kind = Some(self.kind()?),
            (Name::Data, kind) if !tagged.done => {
                let kind = match kind {
                    Some(kind) => kind,
                    None => self.kind_ahead(start)?,
                };
                self.data(kind)?;
                *tagged = Tagged {
                    kind: Some(kind),
                    done: true,
                };
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Checks that an object that ends here was a value; `start` is where it began.
    #[inline]
    fn complete(&mut self, tagged: Tagged, start: usize) -> Scanned<()> {
        let missing = match tagged {
            Tagged { done: true, .. } => return Ok(()),
            Tagged {
                kind: Some(Kind::None),
                ..
            } => {
                self.out.push(Kind::None.tag());
                return Ok(());
            }
            Tagged { kind: Some(_), .. } => "a field `data`",
            Tagged { kind: None, .. } => A_TYPE,
        };
        Err(self.scanner.fail(start, JsonErrorKind::Data(missing)))
    }

    /// Returns the kind of a value whose data, which is next, comes before it.
    #[cold]
    fn kind_ahead(&mut self, start: usize) -> Scanned<Kind> {
        if start >= self.ahead.end {
            let mark = self.scanner.mark();
            self.ahead.objects.clear();
            self.look_into_object(start, Name::Data)?;
            // A field in front of the data may hold objects that were noted before this one.
            self.ahead.objects.sort_unstable_by_key(|object| object.0);
            self.ahead.end = self.scanner.position();
            self.scanner.reset(mark);
        }
        match self.ahead.kind(start) {
            Some(kind) => Ok(kind),
            None => Err(self.scanner.fail(start, JsonErrorKind::Data(A_TYPE))),
        }
    }

    /// Passes over one value of any kind and notes the kinds of values whose data comes first.
    ///
    /// Everything inside is noted in one go: looking ahead anew at each level would read the
    /// innermost as often as there are levels.
    fn look_into(&mut self) -> Scanned<()> {
        match self.scanner.peek() {
            Some(b'{') => {
                let start = self.scanner.position();
                if self.scanner.open(b'}')? {
                    let name = self.name()?;
                    self.look_into_object(start, name)?;
                }
            }
            Some(b'[') => {
                if self.scanner.open(b']')? {
                    loop {
                        self.look_into()?;
                        if !self.scanner.more(b']')? {
                            break;
                        }
                    }
                }
            }
            _ => self.scanner.skip()?,
        }
        Ok(())
    }

    /// Goes on in the object that began at `start`, behind the name of a field.
    fn look_into_object(&mut self, start: usize, name: Name<'t>) -> Scanned<()> {
        let mut name = name;
        let mut typed = false;
        let mut index = None;
        loop {
            match name {
                Name::Data if !typed && index.is_none() => {
                    index = Some(self.ahead.objects.len());
                    self.ahead.objects.push((start, None));
                    self.look_into()?;
                }
                Name::DataType if !typed => {
                    typed = true;
                    let kind = self.kind_if_any()?;
                    let object = index.and_then(|index| self.ahead.objects.get_mut(index));
                    if let Some(object) = object {
                        object.1 = kind;
                    }
                }
                Name::Data | Name::DataType | Name::Other(_) => self.look_into()?,
            }
            if !self.scanner.more(b'}')? {
                return Ok(());
            }
            name = self.name()?;
        }
    }

    fn kind_if_any(&mut self) -> Scanned<Option<Kind>> {
        if self.scanner.peek() != Some(b'"') {
            self.scanner.skip()?;
            return Ok(None);
        }
        Ok(kind_of_name(&self.scanner.string()?.content()))
    }

    /// Takes the name of a kind.
    #[inline]
    fn kind(&mut self) -> Scanned<Kind> {
        const EXPECTED: &str = "the name of a type";
        let start = self.scanner.position();
        if self.scanner.peek() != Some(b'"') {
            return Err(self.scanner.mismatch(EXPECTED));
        }
        let name = self.scanner.string()?;
        match kind_of_name(&name.content()) {
            Some(kind) => Ok(kind),
            None => Err(self.scanner.fail(start, JsonErrorKind::Data(EXPECTED))),
        }
    }

    /// Takes what stands in `data` and appends the value.
    #[inline]
    fn data(&mut self, kind: Kind) -> Scanned<()> {
        match kind {
            Kind::None => {
                self.scanner.skip()?;
                self.out.push(kind.tag());
                Ok(())
            }
            Kind::Boolean => self.boolean(),
            Kind::Count => self.count(),
            Kind::Integer => self.integer(),
            Kind::Real => self.real(),
            Kind::String => self.string(kind, "a string"),
            Kind::EnumValue => self.string(kind, "the name of an enum value as a string"),
            Kind::Address => self.text(kind, "an IPv4 or IPv6 address", |out, text| {
                out.extend_from_slice(&scalar::address(text)?.octets());
                Some(())
            }),
            Kind::Subnet => self.subnet(),
            Kind::Port => {
                let expected = "a port of tcp, udp, icmp or unknown such as `80/tcp`";
                let form = self.scanner.form();
                self.text(kind, expected, |out, text| {
                    let port = scalar::port(text, form)?;
                    out.extend_from_slice(&port.number().to_be_bytes());
                    out.push(port.protocol().number());
                    Some(())
                })
            }
            Kind::Timestamp => {
                let expected = "a time from 1677 to 2262 such as `2022-04-10T07:00:00.000`";
                self.text(kind, expected, |out, text| {
                    out.extend_from_slice(&scalar::timestamp(text)?.ns().to_be_bytes());
                    Some(())
                })
            }
            Kind::Timespan => {
                let expected = "a duration of at most 292 years such as `1500ms`";
                self.text(kind, expected, |out, text| {
                    out.extend_from_slice(&scalar::timespan(text)?.ns().to_be_bytes());
                    Some(())
                })
            }
            Kind::Set => self.container(kind, Self::set),
            Kind::Table => self.container(kind, Self::table),
            Kind::Vector => self.container(kind, Self::vector),
        }
    }

    fn boolean(&mut self) -> Scanned<()> {
        let value = if self.scanner.take(b"true") {
            true
        } else if self.scanner.take(b"false") {
            false
        } else {
            return Err(self.scanner.mismatch("`true` or `false`"));
        };
        self.out
            .extend_from_slice(&[Kind::Boolean.tag(), u8::from(value)]);
        Ok(())
    }

    fn number(&mut self, kind: Kind, [a, b, c, d, e, f, g, h]: [u8; 8]) {
        // One append instead of two: one check for room.
        self.out
            .extend_from_slice(&[kind.tag(), a, b, c, d, e, f, g, h]);
    }

    fn count(&mut self) -> Scanned<()> {
        const EXPECTED: &str = "an integer from 0 to 2^64 - 1";
        if !self.scanner.at_number() {
            return Err(self.scanner.mismatch(EXPECTED));
        }
        let start = self.scanner.position();
        match self.scanner.number()? {
            Number::Integer {
                negative,
                magnitude,
            } if !negative || magnitude == 0 => {
                self.number(Kind::Count, magnitude.to_be_bytes());
                Ok(())
            }
            Number::Integer { .. } | Number::Real(_) | Number::Special(_) => {
                Err(self.scanner.fail(start, JsonErrorKind::Data(EXPECTED)))
            }
        }
    }

    fn integer(&mut self) -> Scanned<()> {
        const EXPECTED: &str = "an integer from -2^63 to 2^63 - 1";
        if !self.scanner.at_number() {
            return Err(self.scanner.mismatch(EXPECTED));
        }
        let start = self.scanner.position();
        let number = match self.scanner.number()? {
            Number::Integer {
                negative: true,
                magnitude,
            } => 0_i64.checked_sub_unsigned(magnitude),
            Number::Integer {
                negative: false,
                magnitude,
            } => i64::try_from(magnitude).ok(),
            Number::Real(_) | Number::Special(_) => None,
        };
        match number {
            Some(number) => {
                self.number(Kind::Integer, number.to_be_bytes());
                Ok(())
            }
            None => Err(self.scanner.fail(start, JsonErrorKind::Data(EXPECTED))),
        }
    }

    fn real(&mut self) -> Scanned<()> {
        let start = self.scanner.position();
        let real = if self.scanner.peek() == Some(b'"') {
            scalar::special_real(&self.scanner.string()?.content())
        } else if self.scanner.at_number() {
            match self.scanner.number()? {
                Number::Real(text) => text.parse().ok().filter(|real: &f64| real.is_finite()),
                Number::Special(real) => Some(real),
                Number::Integer {
                    negative,
                    magnitude,
                } => scalar::exact_real(negative, magnitude),
            }
        } else {
            return Err(self.scanner.mismatch(A_REAL));
        };
        match real {
            Some(real) => {
                self.number(Kind::Real, real::to_wire(real).to_be_bytes());
                Ok(())
            }
            None => Err(self.scanner.fail(start, JsonErrorKind::Data(A_REAL))),
        }
    }

    /// Appends a string, or what the lossless form has in place of bytes that are not text.
    #[inline]
    fn string(&mut self, kind: Kind, expected: &'static str) -> Scanned<()> {
        match self.scanner.peek() {
            Some(b'"') => {
                let string = self.scanner.string()?;
                self.out.push(kind.tag());
                if string.escaped {
                    self.unescaped(string)
                } else {
                    self.length(string.raw.len())?;
                    self.out.extend_from_slice(string.raw);
                    Ok(())
                }
            }
            Some(b'{') if self.scanner.form() == Form::Lossless => {
                let bytes = self.hex(expected)?;
                self.out.push(kind.tag());
                self.length(bytes.len())?;
                self.out.extend_from_slice(&bytes);
                Ok(())
            }
            _ => Err(self.scanner.mismatch(expected)),
        }
    }

    /// Appends a string with escapes; its length is known when they are gone.
    fn unescaped(&mut self, string: Quoted<'_>) -> Scanned<()> {
        self.out.push(0);
        let content = self.out.len();
        string.unescape(self.out);
        let length = self.out.len().saturating_sub(content);
        self.fill(content, length)
    }

    fn subnet(&mut self) -> Scanned<()> {
        const EXPECTED: &str = "a network such as `10.0.0.0/8`";
        let start = self.scanner.position();
        let subnet = match self.scanner.peek() {
            Some(b'"') => scalar::subnet(&self.scanner.string()?.content()),
            Some(b'{') if self.scanner.form() == Form::Lossless => {
                scalar::subnet_of_bytes(&self.hex(EXPECTED)?)
            }
            _ => return Err(self.scanner.mismatch(EXPECTED)),
        };
        let Some(subnet) = subnet else {
            return Err(self.scanner.fail(start, JsonErrorKind::Data(EXPECTED)));
        };
        self.out.push(Kind::Subnet.tag());
        self.out.extend_from_slice(&subnet.network().octets());
        self.out.push(subnet.raw_length());
        Ok(())
    }

    /// Takes a string that `write` turns into what follows the tag, unless it cannot be read.
    #[inline]
    fn text(
        &mut self,
        kind: Kind,
        expected: &'static str,
        write: impl FnOnce(&mut Vec<u8>, &[u8]) -> Option<()>,
    ) -> Scanned<()> {
        let start = self.scanner.position();
        if self.scanner.peek() != Some(b'"') {
            return Err(self.scanner.mismatch(expected));
        }
        let string = self.scanner.string()?;
        self.out.push(kind.tag());
        match write(self.out, &string.content()) {
            Some(()) => Ok(()),
            None => Err(self.scanner.fail(start, JsonErrorKind::Data(expected))),
        }
    }

    /// Takes `{"hex":"..."}`.
    fn hex(&mut self, expected: &'static str) -> Scanned<Vec<u8>> {
        let start = self.scanner.position();
        match Field::hex(&mut self.scanner)? {
            Some(bytes) => Ok(bytes),
            None => Err(self.scanner.fail(start, JsonErrorKind::Data(expected))),
        }
    }

    /// Takes an array whose elements `read` appends; it returns how many there are.
    fn container(
        &mut self,
        kind: Kind,
        read: impl FnOnce(&mut Self, usize) -> Scanned<usize>,
    ) -> Scanned<()> {
        let start = self.scanner.position();
        if self.scanner.peek() != Some(b'[') {
            return Err(self.scanner.mismatch(AN_ARRAY));
        }
        if self.depth >= DEPTH_MAX {
            return Err(self.scanner.fail(start, JsonErrorKind::Depth));
        }
        self.out.extend_from_slice(&[kind.tag(), 0]);
        if !self.scanner.open(b']')? {
            return Ok(());
        }
        self.depth = self.depth.saturating_add(1);
        let content = self.out.len();
        let count = read(self, start)?;
        self.depth = self.depth.saturating_sub(1);
        self.fill(content, count)
    }

    fn vector(&mut self, _: usize) -> Scanned<usize> {
        let mut count = 0_usize;
        loop {
            self.value()?;
            count = count.saturating_add(1);
            if !self.scanner.more(b']')? {
                return Ok(count);
            }
        }
    }

    fn set(&mut self, start: usize) -> Scanned<usize> {
        let mut keys = Keys::new(self.out.len(), start);
        loop {
            let key = self.out.len();
            self.value()?;
            self.close_key(&mut keys, (key, self.out.len()))?;
            if !self.scanner.more(b']')? {
                return self.close_keys(keys, false);
            }
        }
    }

    fn table(&mut self, start: usize) -> Scanned<usize> {
        let mut keys = Keys::new(self.out.len(), start);
        loop {
            let key = self.out.len();
            let key_end = self.entry()?;
            self.close_key(&mut keys, (key, key_end))?;
            if !self.scanner.more(b']')? {
                return self.close_keys(keys, true);
            }
        }
    }

    /// Appends key and mapped value of an entry; returns where the key ends.
    fn entry(&mut self) -> Scanned<usize> {
        let start = self.scanner.position();
        if self.scanner.peek() != Some(b'{') {
            return Err(self.scanner.mismatch(AN_ENTRY));
        }
        let key_start = self.out.len();
        let (mut key_end, mut mapped_end) = (None, None);
        if self.scanner.open(b'}')? {
            loop {
                let name = self.scanner.name()?;
                if name.is("key") && key_end.is_none() {
                    self.value()?;
                    key_end = Some(self.out.len());
                } else if name.is("value") && mapped_end.is_none() {
                    self.value()?;
                    mapped_end = Some(self.out.len());
                } else {
                    self.scanner.skip()?;
                }
                if !self.scanner.more(b'}')? {
                    break;
                }
            }
        }
        let (Some(key_end), Some(mapped_end)) = (key_end, mapped_end) else {
            return Err(self.scanner.fail(start, JsonErrorKind::Data(AN_ENTRY)));
        };
        if key_end < mapped_end {
            return Ok(key_end);
        }
        // The value came first: on the wire the key does.
        let mapped = mapped_end.saturating_sub(key_start);
        if let Some(entry) = self.out.get_mut(key_start..) {
            entry.rotate_left(mapped);
        }
        Ok(key_end.saturating_sub(mapped))
    }

    /// Compares a key with the one before it, as long as all were in ascending order.
    fn close_key(&mut self, keys: &mut Keys, key: (usize, usize)) -> Scanned<()> {
        if keys.ordered && keys.count > 0 {
            let bytes = |(start, end): (usize, usize)| self.out.get(start..end).unwrap_or_default();
            match compare_ordered(bytes(keys.last), bytes(key)) {
                Ordering::Less => {}
                Ordering::Equal if self.scanner.form().equals() == Equals::KeepFirst => {
                    self.out.truncate(key.0);
                    return Ok(());
                }
                Ordering::Equal => {
                    return Err(self.scanner.fail(keys.source, JsonErrorKind::Unique));
                }
                Ordering::Greater => keys.ordered = false,
            }
        }
        keys.last = key;
        keys.count = keys.count.saturating_add(1);
        Ok(())
    }

    /// Sorts what came out of order.
    fn close_keys(&mut self, keys: Keys, mapped: bool) -> Scanned<usize> {
        if keys.ordered {
            return Ok(keys.count);
        }
        let equals = self.scanner.form().equals();
        // What this decoder wrote can be read, so the only failure is a duplicate.
        places(self.out, keys.content, keys.count, mapped)
            .ok()
            .and_then(|entries| settle(self.out, keys.content, entries, equals).ok())
            .ok_or_else(|| self.scanner.fail(keys.source, JsonErrorKind::Unique))
    }

    /// Appends a length.
    #[inline]
    fn length(&mut self, length: usize) -> Scanned<()> {
        match u32::try_from(length) {
            Ok(length) => {
                put_varbyte(self.out, length);
                Ok(())
            }
            Err(_) => Err(self.too_long()),
        }
    }

    /// Fills a length or count into the byte in front of `content`.
    #[inline]
    fn fill(&mut self, content: usize, count: usize) -> Scanned<()> {
        match set_count(self.out, content, count) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.too_long()),
        }
    }

    #[cold]
    fn too_long(&mut self) -> Failed {
        let at = self.scanner.position();
        self.scanner.fail(at, JsonErrorKind::TooLong)
    }
}

/// What was found out by looking ahead.
#[derive(Default)]
struct Ahead {
    /// Where objects with `data` before `@data-type` start, in ascending order, and their kinds.
    objects: Vec<(usize, Option<Kind>)>,
    /// All such objects that start before this offset are known.
    end: usize,
}

impl Ahead {
    fn kind(&self, start: usize) -> Option<Kind> {
        let index = self.objects.binary_search_by_key(&start, |object| object.0);
        self.objects.get(index.ok()?)?.1
    }
}

/// The elements of a set or the keys of a table, while they are read.
struct Keys {
    /// Where the content starts in the output.
    content: usize,
    /// Where the array starts in the text, for errors.
    source: usize,
    count: usize,
    last: (usize, usize),
    ordered: bool,
}

impl Keys {
    const fn new(content: usize, source: usize) -> Self {
        Self {
            content,
            source,
            count: 0,
            last: (0, 0),
            ordered: true,
        }
    }
}

#[inline]
fn kind_of_name(name: &[u8]) -> Option<Kind> {
    Some(match name {
        b"none" => Kind::None,
        b"boolean" => Kind::Boolean,
        b"count" => Kind::Count,
        b"integer" => Kind::Integer,
        b"real" => Kind::Real,
        b"string" => Kind::String,
        b"address" => Kind::Address,
        b"subnet" => Kind::Subnet,
        b"port" => Kind::Port,
        b"timestamp" => Kind::Timestamp,
        b"timespan" => Kind::Timespan,
        b"enum-value" => Kind::EnumValue,
        b"set" => Kind::Set,
        b"table" => Kind::Table,
        b"vector" => Kind::Vector,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let read = from_text(text.as_bytes(), Form::Compatible);
        read.expect_err(text).to_string()
    }

    fn data(text: &str) -> String {
        error(&format!("{{{text}}}"))
            .strip_prefix("contained invalid data: expected ")
            .expect(text)
            .to_owned()
    }

    fn syntax(text: &str) -> String {
        error(text)
            .strip_prefix("contained malformed JSON: expected ")
            .expect(text)
            .to_owned()
    }

    #[test]
    fn what_is_no_json_says_what_was_expected_where() {
        for (text, expected) in [
            ("", "a JSON value, found the end of the text at byte 0"),
            (" ", "a JSON value, found the end of the text at byte 1"),
            (
                "{",
                "the name of a field in quotes, found the end of the text at byte 1",
            ),
            ("{}x", "the end of the text at byte 2"),
            ("[]x", "the end of the text at byte 2"),
            ("{a:1}", "the name of a field in quotes at byte 1"),
            ("{'a':1}", "the name of a field in quotes at byte 1"),
            (r#"{"a" 1}"#, "`:` at byte 5"),
            (r#"{"a":}"#, "a JSON value at byte 5"),
            (
                r#"{"a":1 "#,
                "`,` or `}`, found the end of the text at byte 7",
            ),
            (r#"{"a":1,}"#, "the name of a field in quotes at byte 7"),
            (r#"{"a":[1}"#, "`,` or `]` at byte 7"),
            (r#"{"a":[1,]}"#, "a JSON value at byte 8"),
            (r#"{"a":tru}"#, "a JSON value at byte 5"),
            (r#"{"a":NaN}"#, "a JSON value at byte 5"),
            (r#"{"a":inf}"#, "a JSON value at byte 5"),
            (r#"{"a":-nan}"#, "a digit at byte 6"),
            (r#"{"a":-inf}"#, "a digit at byte 6"),
            (r#"{"a":-}"#, "a digit at byte 6"),
            (r#"{"a":.}"#, "a digit at byte 6"),
            (r#"{"a":1e}"#, "a digit at byte 7"),
            (r#"{"a":1e+}"#, "a digit at byte 8"),
            (
                r#"{"a":010}"#,
                "a decimal number without leading zeros at byte 5",
            ),
            (
                r#"{"a":-08.5}"#,
                "a decimal number without leading zeros at byte 6",
            ),
            (r#"{"a":0x10}"#, "`,` or `}` at byte 6"),
            (
                r#"{"a":18446744073709551616}"#,
                "an integer of at most 64 bits at byte 5",
            ),
            (
                r#"{"a":-9223372036854775809}"#,
                "an integer of at most 64 bits at byte 5",
            ),
            (
                r#"{"a":"b"#,
                "`\"` at the end of a string, found the end of the text at byte 7",
            ),
            ("{\"a\":\"b\nc\"}", "`\"` at the end of a string at byte 7"),
            (r#"{"a":"\x"}"#, "a known escape behind `\\` at byte 7"),
            (r#"{"a":"\u12g4"}"#, "four hexadecimal digits at byte 10"),
            (
                r#"{"a":"\ud83d"}"#,
                "both halves of a surrogate pair at byte 7",
            ),
            (
                r#"{"a":"\ud83d\u0041"}"#,
                "both halves of a surrogate pair at byte 7",
            ),
            (
                r#"{"a":"\ude00"}"#,
                "both halves of a surrogate pair at byte 7",
            ),
        ] {
            assert_eq!(syntax(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_value_says_what_was_expected_where() {
        for (text, expected) in [
            ("", "a field `@data-type` with the name of a type at byte 0"),
            (
                r#""data":1"#,
                "a field `@data-type` with the name of a type at byte 0",
            ),
            (
                r#""data":1,"@data-type":"x""#,
                "a field `@data-type` with the name of a type at byte 0",
            ),
            (
                r#""data":1,"@data-type":1"#,
                "a field `@data-type` with the name of a type at byte 0",
            ),
            (r#""@data-type":"count""#, "a field `data` at byte 0"),
            (r#""@data-type":1"#, "the name of a type at byte 14"),
            (r#""@data-type":"Count""#, "the name of a type at byte 14"),
            (
                r#""@data-type":"boolean","data":1"#,
                "`true` or `false` at byte 31",
            ),
            (
                r#""@data-type":"count","data":1.0"#,
                "an integer from 0 to 2^64 - 1 at byte 29",
            ),
            (
                r#""@data-type":"count","data":nan"#,
                "an integer from 0 to 2^64 - 1 at byte 29",
            ),
            (
                r#""@data-type":"count","data":"1""#,
                "an integer from 0 to 2^64 - 1 at byte 29",
            ),
            (
                r#""@data-type":"integer","data":1e3"#,
                "an integer from -2^63 to 2^63 - 1 at byte 31",
            ),
            (
                r#""@data-type":"integer","data":9223372036854775808"#,
                "an integer from -2^63 to 2^63 - 1 at byte 31",
            ),
            (
                r#""@data-type":"integer","data":[]"#,
                "an integer from -2^63 to 2^63 - 1 at byte 31",
            ),
            (
                r#""@data-type":"real","data":9007199254740993"#,
                "a number that a real can hold at byte 28",
            ),
            (
                r#""@data-type":"real","data":1e309"#,
                "a number that a real can hold at byte 28",
            ),
            (
                r#""@data-type":"real","data":"1""#,
                "a number that a real can hold at byte 28",
            ),
            (
                r#""@data-type":"real","data":null"#,
                "a number that a real can hold at byte 28",
            ),
            (r#""@data-type":"string","data":1"#, "a string at byte 30"),
            (
                r#""@data-type":"string","data":{"hex":"00"}"#,
                "a string at byte 30",
            ),
            (
                r#""@data-type":"enum-value","data":1"#,
                "the name of an enum value as a string at byte 34",
            ),
            (
                r#""@data-type":"address","data":"x""#,
                "an IPv4 or IPv6 address at byte 31",
            ),
            (
                r#""@data-type":"address","data":1"#,
                "an IPv4 or IPv6 address at byte 31",
            ),
            (
                r#""@data-type":"subnet","data":"x""#,
                "a network such as `10.0.0.0/8` at byte 30",
            ),
            (
                r#""@data-type":"subnet","data":1"#,
                "a network such as `10.0.0.0/8` at byte 30",
            ),
            (
                r#""@data-type":"port","data":"x""#,
                "a port of tcp, udp, icmp or unknown such as `80/tcp` at byte 28",
            ),
            (
                r#""@data-type":"timestamp","data":"x""#,
                "a time from 1677 to 2262 such as `2022-04-10T07:00:00.000` at byte 33",
            ),
            (
                r#""@data-type":"timespan","data":"x""#,
                "a duration of at most 292 years such as `1500ms` at byte 32",
            ),
            (r#""@data-type":"vector","data":{}"#, "an array at byte 30"),
            (
                r#""@data-type":"vector","data":[1]"#,
                "an object with `@data-type` and `data` at byte 31",
            ),
            (
                r#""@data-type":"table","data":[1]"#,
                "an object with `key` and `value` at byte 30",
            ),
            (
                r#""@data-type":"table","data":[{"key":{"@data-type":"none"}}]"#,
                "an object with `key` and `value` at byte 30",
            ),
            (
                r#""@data-type":"set","data":[{"@data-type":"none"},{"@data-type":"none"}]"#,
                "no element or key twice in a set or table at byte 27",
            ),
        ] {
            assert_eq!(data(text), expected, "{text}");
        }
        assert_eq!(error(" [1]"), "expected a JSON object at byte 1");
    }

    #[test]
    fn duplicates_are_found_in_any_order() {
        for numbers in [&[1, 2, 1][..], &[3, 1, 2, 2], &[2, 2]] {
            for (kind, before, behind) in [
                ("set", "", ""),
                (
                    "table",
                    "{\"key\":",
                    ",\"value\":{\"@data-type\":\"none\"}}",
                ),
            ] {
                let items = numbers.iter().map(|number| {
                    format!(r#"{before}{{"@data-type":"count","data":{number}}}{behind}"#)
                });
                let items = items.collect::<Vec<_>>().join(",");
                let text = format!(r#"{{"@data-type":"{kind}","data":[{items}]}}"#);
                let error = from_text(text.as_bytes(), Form::Compatible).unwrap_err();
                assert_eq!(error.kind, JsonErrorKind::Unique, "{text}");
            }
        }
    }

    #[test]
    fn bytes_that_have_no_text_are_read_in_the_lossless_form_only() {
        for (text, encoded) in [
            (
                r#"{"@data-type":"string","data":{"hex":"ff00"}}"#,
                &b"\x05\x02\xff\x00"[..],
            ),
            (
                r#"{"@data-type":"enum-value","data":{"x":1,"hex":""}}"#,
                b"\x0b\x00",
            ),
        ] {
            assert_eq!(
                from_text(text.as_bytes(), Form::Lossless).as_deref(),
                Ok(encoded)
            );
            assert!(from_text(text.as_bytes(), Form::Compatible).is_err());
        }
        for data in [r#"{"hex":"f"}"#, r#"{"hex":1}"#, "{}", r#"{"hex":"zz"}"#] {
            for kind in ["string", "enum-value", "subnet"] {
                let text = format!(r#"{{"@data-type":"{kind}","data":{data}}}"#);
                let error = from_text(text.as_bytes(), Form::Lossless).unwrap_err();
                let at = text.len() - data.len() - 1;
                assert_eq!(error.offset, at, "{text}");
                assert!(matches!(error.kind, JsonErrorKind::Data(_)), "{text}");
            }
        }
    }

    #[test]
    fn a_client_reads_words_and_control_characters_that_are_no_json() {
        for (text, encoded) in [
            ("\"real\",\"data\":inf", &b"\x04\xff\xf0\0\0\0\0\0\0"[..]),
            ("\"real\",\"data\":-inf", b"\x04\x7f\xf0\0\0\0\0\0\0"),
            (
                "\"real\",\"data\":-nan",
                b"\x04\xff\xff\xff\xff\xff\xff\xff\xff",
            ),
            ("\"string\",\"data\":\"\0\n\x01\"", b"\x05\x03\0\n\x01"),
        ] {
            let text = format!("{{\"@data-type\":{text}}}");
            let read = from_text(text.as_bytes(), Form::Original);
            assert_eq!(read.as_deref(), Ok(encoded), "{text}");
            assert!(
                from_text(text.as_bytes(), Form::Lossless).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn of_elements_that_a_server_made_equal_the_first_stays() {
        let count = |number| format!(r#"{{"@data-type":"count","data":{number}}}"#);
        let entry = |key, value| format!(r#"{{"key":{},"value":{}}}"#, count(key), count(value));
        let set = |numbers: &[u64]| {
            let elements: Vec<String> = numbers.iter().map(|it| count(*it)).collect();
            format!(r#"{{"@data-type":"set","data":[{}]}}"#, elements.join(","))
        };
        let expected = crate::to_bytes(&std::collections::BTreeSet::from([1_u64, 2, 3])).unwrap();
        let inner = |number| std::collections::BTreeSet::from([number]);
        let nested = crate::to_bytes(&std::collections::BTreeSet::from([inner(1_u64), inner(2)]));
        let table = crate::to_bytes(&std::collections::BTreeMap::from([(1_u64, 7_u64), (2, 9)]));
        let (nested, table) = (nested.unwrap(), table.unwrap());
        for (text, read) in [
            // In order, out of order, and both.
            (set(&[1, 1, 2, 3, 3, 3]), &expected),
            (set(&[3, 1, 2, 1, 3]), &expected),
            (set(&[1, 1, 3, 2, 2]), &expected),
            (
                format!(
                    r#"{{"@data-type":"set","data":[{},{},{}]}}"#,
                    set(&[2, 2]),
                    set(&[1]),
                    set(&[2])
                ),
                &nested,
            ),
            (
                format!(
                    r#"{{"@data-type":"table","data":[{},{},{},{}]}}"#,
                    entry(1, 7),
                    entry(1, 8),
                    entry(2, 9),
                    entry(1, 6)
                ),
                &table,
            ),
        ] {
            assert_eq!(
                from_text(text.as_bytes(), Form::Original).as_ref(),
                Ok(read),
                "{text}"
            );
            for form in [Form::Compatible, Form::Lossless] {
                let error = from_text(text.as_bytes(), form).unwrap_err();
                assert_eq!(error.kind, JsonErrorKind::Unique, "{text}");
            }
        }
    }

    #[test]
    fn integers_become_reals_where_nothing_is_lost() {
        for (text, real) in [
            ("9007199254740992", 9_007_199_254_740_992.0),
            ("9223372036854775808", 9_223_372_036_854_775_808.0),
            ("-9223372036854775808", -9_223_372_036_854_775_808.0),
            ("+1", 1.0),
            ("-0", -0.0_f64),
            ("0", 0.0),
        ] {
            let text = format!(r#"{{"@data-type":"real","data":{text}}}"#);
            let read = from_text(text.as_bytes(), Form::Compatible);
            assert_eq!(read.ok(), crate::to_bytes(&real).ok(), "{text}");
        }
    }

    #[test]
    fn data_may_come_before_its_type_at_any_level() {
        let inner = r#"{"data":[{"data":1,"@data-type":"count"}],"x":{"data":{"data":2}},"@data-type":"set"}"#;
        let usual = r#"{"@data-type":"set","data":[{"data":1,"@data-type":"count"}]}"#;
        let text = format!(
            r#"{{"data":[{inner},{usual},{{"data":[{inner}],"@data-type":"vector"}},{inner}],"data":5,"@data-type":"vector","@data-type":"x"}}"#
        );
        let set = std::collections::BTreeSet::from([1_u64]);
        let expected = crate::to_bytes(&(&set, &set, [&set], &set));
        let read = from_text(text.as_bytes(), Form::Compatible);
        assert_eq!(read.ok(), expected.ok());
        // Nothing is left over from one element to the next.
        let text = r#"{"@data-type":"vector","data":[{"data":1,"@data-type":"count"},{"data":2}]}"#;
        let error = from_text(text.as_bytes(), Form::Compatible).unwrap_err();
        assert_eq!(error, JsonError::new(63, JsonErrorKind::Data(A_TYPE)));
    }

    #[test]
    fn of_fields_with_one_name_the_first_counts() {
        let count = r#"{"@data-type":"count","data":1}"#;
        let text = format!(
            r#"{{"@data-type":"table","data":[{{"value":{count},"key":{{"data":2,"@data-type":"count","data":3,"@data-type":"x"}},"value":5,"key":null}}]}}"#
        );
        let read = from_text(text.as_bytes(), Form::Compatible);
        let table = std::collections::BTreeMap::from([(2_u64, 1_u64)]);
        assert_eq!(read.ok(), crate::to_bytes(&table).ok());
    }
}
