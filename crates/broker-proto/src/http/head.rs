//! Heads of HTTP requests, as far as a server needs them that has a handful of paths.
//!
//! A head is the request line and the fields up to the empty line. Bodies, continuation lines and
//! pipelining are no business of ours: what is served here has none of them. Nothing is copied, a
//! [`RequestHead`] borrows the bytes that came.
//!
//! Spec: websocket 1.1.

#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

/// Largest head in bytes, the empty line included: what the original accepts.
pub const HEAD_BYTES_MAX: usize = 2048;

/// The methods HTTP knows; any other word is no method.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

/// Why a head is refused. The texts are those of the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// More than [`HEAD_BYTES_MAX`] bytes without an end.
    #[error("Header exceeds maximum size.")]
    TooLarge,
    /// The first word is none of HTTP's methods, or the line ends after it.
    #[error("Invalid HTTP method.")]
    Method,
    /// The target is not a path.
    #[error("Malformed Request-URI: expected an absolute path.")]
    RelativeTarget,
    /// The target has characters that a target cannot have, or the version is not one of HTTP 1.
    #[error("Malformed Request-URI.")]
    Target,
    /// A line is not a field.
    #[error("Malformed header fields.")]
    Field,
}

impl HeadError {
    /// Status code and reason of the answer.
    pub const fn status(self) -> (u16, &'static str) {
        match self {
            Self::TooLarge => (431, "Request Header Fields Too Large"),
            Self::Method | Self::RelativeTarget | Self::Target | Self::Field => {
                (400, "Bad Request")
            }
        }
    }
}

/// Where the head at the start of `bytes` ends; `None` while its end has not come.
///
/// ```
/// use broker_proto::http::head::head_size;
///
/// assert_eq!(head_size(b"GET / HTTP/1.1\r\n\r\nbehind"), Ok(Some(18)));
/// assert_eq!(head_size(b"GET / HTTP/1.1\r\n"), Ok(None));
/// ```
///
/// # Errors
///
/// When there is no end within [`HEAD_BYTES_MAX`].
pub fn head_size(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    let window = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    match window.windows(4).position(|end| end == b"\r\n\r\n") {
        Some(at) => Ok(Some(at.saturating_add(4))),
        None if bytes.len() >= HEAD_BYTES_MAX => Err(HeadError::TooLarge),
        None => Ok(None),
    }
}

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead<'a> {
    /// The method, in capitals.
    pub method: &'static str,
    /// Path and query, as sent.
    pub target: &'a str,
    /// Names and values in the order they came, without the blanks around values.
    fields: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> RequestHead<'a> {
    /// Reads a complete head.
    ///
    /// ```
    /// use broker_proto::http::head::RequestHead;
    ///
    /// let head = RequestHead::parse(b"get /a?b HTTP/1.1\r\nHost:  x \r\n\r\n")?;
    /// assert_eq!((head.method, head.path()), ("GET", "/a"));
    /// assert_eq!(head.field("host"), Some(&b"x"[..]));
    /// # Ok::<(), broker_proto::http::head::HeadError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When it is not the head of an HTTP 1 request.
    pub fn parse(head: &'a [u8]) -> Result<Self, HeadError> {
        let mut lines = head
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let request = lines.next().unwrap_or_default();
        let (method, target) = request_line(request)?;
        let fields = lines
            .take_while(|line| !line.is_empty())
            .map(field)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            method,
            target,
            fields,
        })
    }

    /// A head that was read elsewhere: the method, path and query, names and values of the fields.
    ///
    /// # Errors
    ///
    /// When the method is none that HTTP knows, or the target is not a path.
    pub fn from_parts(
        method: &str,
        target: &'a str,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Self, HeadError> {
        let method = METHODS.into_iter().find(|known| *known == method);
        let method = method.ok_or(HeadError::Method)?;
        if !target.starts_with('/') {
            return Err(HeadError::RelativeTarget);
        }
        Ok(Self {
            method,
            target,
            fields: fields.into_iter().collect(),
        })
    }

    /// The target without query and fragment.
    pub fn path(&self) -> &'a str {
        let end = self.target.find(['?', '#']).unwrap_or(self.target.len());
        self.target.get(..end).unwrap_or_default()
    }

    /// The first value of a field; names are compared without case.
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    /// Every value of a field.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| *value)
    }

    /// The items of a field that is a list, over all its values, without blanks around them.
    pub fn items(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.values(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|item| !item.is_empty())
    }

    /// Whether a list has an item, compared without case.
    pub fn has_item(&self, name: &str, item: &str) -> bool {
        self.items(name)
            .any(|known| known.eq_ignore_ascii_case(item.as_bytes()))
    }
}

fn request_line(line: &[u8]) -> Result<(&'static str, &str), HeadError> {
    let mut words = line.split(|byte| *byte == b' ').filter(|w| !w.is_empty());
    let word = words.next().ok_or(HeadError::Method)?;
    let method = METHODS
        .into_iter()
        .find(|known| word.eq_ignore_ascii_case(known.as_bytes()))
        .ok_or(HeadError::Method)?;
    let target = words.next().ok_or(HeadError::Target)?;
    if target.first() != Some(&b'/') {
        return Err(HeadError::RelativeTarget);
    }
    if !target.iter().all(u8::is_ascii_graphic) {
        return Err(HeadError::Target);
    }
    let target = std::str::from_utf8(target).map_err(|_| HeadError::Target)?;
    let version = words.next().unwrap_or_default();
    let is_http = matches!(version, b"HTTP/1.1" | b"HTTP/1.0") && words.next().is_none();
    is_http.then_some((method, target)).ok_or(HeadError::Target)
}

fn field(line: &[u8]) -> Result<(&[u8], &[u8]), HeadError> {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = line
        .split_at_checked(colon.ok_or(HeadError::Field)?)
        .ok_or(HeadError::Field)?;
    // A blank before the colon, or a line that continues another, is how requests are smuggled.
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
        return Err(HeadError::Field);
    }
    let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
    if value
        .iter()
        .any(|byte| byte.is_ascii_control() && *byte != b'\t')
    {
        Err(HeadError::Field)
    } else {
        Ok((name, value))
    }
}

/// An answer with a line of text, after which the connection closes.
pub fn text_response(status: (u16, &str), fields: &[(&str, &str)], text: &str) -> String {
    let (code, reason) = status;
    let mut response = format!(
        "HTTP/1.1 {code} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n",
        text.len()
    );
    for (name, value) in fields {
        response.push_str(name);
        response.push_str(": ");
        response.push_str(value);
        response.push_str("\r\n");
    }
    response.push_str("\r\n");
    response.push_str(text);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Result<RequestHead<'_>, HeadError> {
        RequestHead::parse(head.as_bytes())
    }

    #[test]
    fn what_is_not_a_request_is_refused() {
        use HeadError::{Field, Method, RelativeTarget, Target};
        for (head, error) in [
            ("", Method),
            ("\r\n\r\n", Method),
            ("BREW / HTTP/1.1\r\n\r\n", Method),
            ("\x16\x03\x01\x02\0\r\n\r\n", Method),
            ("GET\r\n\r\n", Target),
            ("GET /\r\n\r\n", Target),
            ("GET / HTTP/2\r\n\r\n", Target),
            ("GET / HTTP/1.1 x\r\n\r\n", Target),
            ("GET /\x7f HTTP/1.1\r\n\r\n", Target),
            ("GET a HTTP/1.1\r\n\r\n", RelativeTarget),
            ("GET http://a/ HTTP/1.1\r\n\r\n", RelativeTarget),
            ("GET / HTTP/1.1\r\na\r\n\r\n", Field),
            ("GET / HTTP/1.1\r\n: a\r\n\r\n", Field),
            ("GET / HTTP/1.1\r\na : b\r\n\r\n", Field),
            ("GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n", Field),
            ("GET / HTTP/1.1\r\na: b\rc\r\n\r\n", Field),
        ] {
            assert_eq!(parse(head), Err(error), "{head:?}");
        }
    }

    #[test]
    fn fields_are_found_without_case_and_lists_are_split() {
        let head = parse("GET /p#f HTTP/1.0\r\nA: 1, 2\r\na:\t3 ,, \r\nB:\r\n\r\nbody").unwrap();
        assert_eq!(head.path(), "/p");
        assert_eq!(head.field("A"), Some(&b"1, 2"[..]));
        assert_eq!(head.items("a").collect::<Vec<_>>(), [b"1", b"2", b"3"]);
        assert_eq!(head.field("b"), Some(&b""[..]));
        assert_eq!(head.field("body"), None);
        assert!(head.has_item("A", "3") && !head.has_item("A", "4"));
    }

    #[test]
    fn a_head_must_end_in_time() {
        let mut head = b"GET / HTTP/1.1\r\nA: ".to_vec();
        head.resize(HEAD_BYTES_MAX - 4, b'a');
        assert_eq!(head_size(&head), Ok(None));
        head.extend_from_slice(b"\r\n\r\n");
        assert_eq!(head_size(&head), Ok(Some(HEAD_BYTES_MAX)));
        head.insert(20, b'a');
        assert_eq!(head_size(&head), Err(HeadError::TooLarge));
    }

    #[test]
    fn an_answer_says_how_long_it_is() {
        assert_eq!(
            text_response((400, "Bad Request"), &[("Connection", "close")], "no"),
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\
             Connection: close\r\n\r\nno"
        );
    }

    #[test]
    fn a_head_that_was_read_elsewhere_is_the_same() {
        let parsed = RequestHead::parse(b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let made = RequestHead::from_parts("GET", "/a?b", [(&b"Host"[..], &b"x"[..])]);
        assert_eq!(made, Ok(parsed));
        let none = std::iter::empty;
        assert_eq!(
            RequestHead::from_parts("FETCH", "/", none()),
            Err(HeadError::Method)
        );
        assert_eq!(
            RequestHead::from_parts("GET", "a", none()),
            Err(HeadError::RelativeTarget)
        );
    }
}
