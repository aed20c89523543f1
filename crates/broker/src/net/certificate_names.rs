//! The names that the certificate of the other side proves.
//!
//! The authority is trusted to know what it signs; here it is seen to that what it signed is read as it
//! was meant. A name that programs may read in different ways proves nothing, and neither does the rest
//! of its certificate: one with NUL or other control characters in it, or one whose bytes are no text.

use broker_proto::policy::CertificateName;
#[cfg(feature = "tls")]
use openssl::nid::Nid;
#[cfg(feature = "tls")]
use openssl::x509::X509Ref;

use crate::net::socket::Socket;

/// What is wrong with the names of a certificate.
#[cfg(feature = "tls")]
const ODD_NAME: &str = "the certificate has a name that is no plain text";

/// What the other side shows of itself: nothing, or names.
pub(crate) type Shown = Result<Vec<CertificateName>, &'static str>;

/// The names that the other side of a connection proved. None without a certificate.
///
/// # Errors
///
/// When a name is not plain text.
pub(crate) fn shown_on(socket: &Socket) -> Shown {
    #[cfg(feature = "tls")]
    if let Socket::Tls(stream) = socket {
        let certificate = stream.ssl().peer_certificate();
        return certificate.map_or(Ok(Vec::new()), |it| names(&it));
    }
    let _no_certificate = socket;
    Ok(Vec::new())
}

/// Subject alternative names that are URIs or domain names; the common name where there are none.
#[cfg(feature = "tls")]
fn names(certificate: &X509Ref) -> Shown {
    let alternatives = certificate.subject_alt_names();
    let mut names = Vec::new();
    let mut has_other = false;
    for name in alternatives.iter().flatten() {
        if let Some(uri) = name.uri() {
            names.push(CertificateName::Uri(plain(uri.as_bytes())?));
        } else if let Some(domain) = name.dnsname() {
            names.push(CertificateName::Dns(plain(domain.as_bytes())?));
        } else {
            // What is neither may be one that cannot be read.
            has_other |= name.email().is_none() && name.ipaddress().is_none();
        }
    }
    if names.is_empty() && !has_other {
        for entry in certificate.subject_name().entries_by_nid(Nid::COMMONNAME) {
            // The bytes as they are signed: a conversion could end at a NUL.
            names.push(CertificateName::Common(plain(entry.data().as_slice())?));
        }
    }
    Ok(names)
}

/// A name without anything that one reader shows and another one does not.
#[cfg(feature = "tls")]
fn plain(bytes: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| ODD_NAME)?;
    let is_plain = !text.is_empty() && !text.contains(char::is_control);
    is_plain.then(|| text.to_owned()).ok_or(ODD_NAME)
}

#[cfg(feature = "tls")]
#[cfg(test)]
mod tests {
    use openssl::asn1::{Asn1Integer, Asn1Time};
    use openssl::bn::BigNum;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::hash::MessageDigest;
    use openssl::pkey::PKey;
    use openssl::x509::extension::SubjectAlternativeName;
    use openssl::x509::{X509, X509NameBuilder};

    use super::*;

    /// A certificate with a common name and alternatives.
    fn certificate(
        common: &[&str],
        alternatives: impl FnOnce(&mut SubjectAlternativeName) -> bool,
    ) -> X509 {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        for common in common {
            name.append_entry_by_nid(Nid::COMMONNAME, common).unwrap();
        }
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let number = BigNum::from_u32(1).unwrap();
        builder
            .set_serial_number(&Asn1Integer::from_bn(&number).unwrap())
            .unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.set_pubkey(&key).unwrap();
        let (begin, end) = (Asn1Time::days_from_now(0), Asn1Time::days_from_now(1));
        builder.set_not_before(&begin.unwrap()).unwrap();
        builder.set_not_after(&end.unwrap()).unwrap();
        let mut extension = SubjectAlternativeName::new();
        if alternatives(&mut extension) {
            let context = builder.x509v3_context(None, None);
            let extension = extension.build(&context).unwrap();
            builder.append_extension(extension).unwrap();
        }
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        builder.build()
    }

    #[test]
    fn alternatives_count_more_than_the_common_name() {
        let uri = |name: &str| CertificateName::Uri(name.to_owned());
        let dns = |name: &str| CertificateName::Dns(name.to_owned());
        let common = |name: &str| CertificateName::Common(name.to_owned());
        let both = certificate(&["soar"], |it| {
            it.uri("spiffe://corp/siem").dns("siem.corp");
            true
        });
        let expected = vec![uri("spiffe://corp/siem"), dns("siem.corp")];
        assert_eq!(names(&both), Ok(expected));
        let none = certificate(&["soar"], |_| false);
        assert_eq!(names(&none), Ok(vec![common("soar")]));
        let address = certificate(&["soar"], |it| {
            it.ip("192.0.2.1").email("soar@corp");
            true
        });
        assert_eq!(names(&address), Ok(vec![common("soar")]));
        let unreadable = certificate(&["soar"], |it| {
            it.rid("1.2.3");
            true
        });
        assert_eq!(names(&unreadable), Ok(vec![]));
        // Bytes are compared: another case is another name.
        let upper = certificate(&["SOAR"], |_| false);
        assert_eq!(names(&upper), Ok(vec![common("SOAR")]));
    }

    #[test]
    fn names_that_are_read_in_two_ways_prove_nothing() {
        for odd in ["soar\0.evil", "soar\n", "soar\u{7f}"] {
            let certificate = certificate(&[odd], |_| false);
            assert_eq!(names(&certificate), Err(ODD_NAME), "{odd:?}");
        }
        // With a good one beside it as well.
        let two = certificate(&["soar", "siem\0"], |_| false);
        assert_eq!(names(&two), Err(ODD_NAME));
        assert_eq!(plain(b"so\xffar"), Err(ODD_NAME));
        assert_eq!(plain(b""), Err(ODD_NAME));
    }
}
