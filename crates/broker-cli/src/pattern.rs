//! Patterns with `*` and `?`, as names of files have them.

/// Whether a text fits a pattern: `*` stands for any bytes, `?` for one.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Where the last star is, and up to where it stands for something so far.
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match (pattern.get(at), text.get(from)) {
            (Some(b'*'), _) => {
                star = Some((at, from));
                at += 1;
            }
            (Some(sign), Some(byte)) if *sign == b'?' || sign == byte => {
                at += 1;
                from += 1;
            }
            _ => match star {
                Some((back, covered)) => {
                    star = Some((back, covered + 1));
                    at = back + 1;
                    from = covered + 1;
                }
                None => return false,
            },
        }
    }
    pattern
        .get(at..)
        .unwrap_or_default()
        .iter()
        .all(|sign| *sign == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, which takes exponential time.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                naive(rest, text) || text.split_first().is_some_and(|(_, t)| naive(pattern, t))
            }
            (Some((sign, rest)), Some((byte, t))) => {
                (*sign == b'?' || sign == byte) && naive(rest, t)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_is_what_the_definition_says(pattern in "[ab*?]{0,7}", text in "[ab]{0,9}") {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(pattern, text), naive(pattern, text));
        }
    }

    #[test]
    fn names_of_events() {
        assert!(matches(b"Cluster::*", b"Cluster::hello"));
        assert!(!matches(b"Cluster::*", b"cluster"));
        assert!(matches(b"ping", b"ping") && !matches(b"ping", b"ping2"));
        // A star that can stand for much does not take long.
        assert!(!matches(&b"a*".repeat(50), &b"a".repeat(49)));
    }
}
