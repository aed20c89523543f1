//! Options of peerings with servers of NATS.

use std::path::PathBuf;

use broker_proto::nats::Subjects;

use crate::config::TlsOptions;
use crate::error::Error;

/// Options of one peering with servers of NATS, `nats://`. No secret is shown by [`Debug`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NatsPeerOptions {
    /// Name of a user, with [`password`](Self::password).
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// A token instead of a user.
    pub token: Option<String>,
    /// File with a user's JWT and the seed of its key, or with the seed alone. It is read for every
    /// connection, so that it can be renewed in place.
    pub credentials_file: Option<PathBuf>,
    /// Has servers without TLS refused, and says whom to trust and which certificate to show. Without
    /// it TLS is spoken where the server wants it, with the authorities of the system.
    pub tls: Option<TlsOptions>,
    /// What subjects begin with instead of `bk.`: tokens of letters, digits, `_` and `-`, each with a
    /// dot behind it. Endpoints with other prefixes are in other topic spaces.
    pub prefix: Option<String>,
}

impl std::fmt::Debug for NatsPeerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsPeerOptions")
            .field("user", &self.user)
            .field("credentials_file", &self.credentials_file)
            .field("tls", &self.tls.is_some())
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl NatsPeerOptions {
    /// Refuses values that could never work.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for ways to log in that do not go together, and for a prefix that is none.
    pub fn check(&self) -> Result<(), Error> {
        self.subjects()?;
        let wrong = |name, cause: &str| {
            Err(Error::Option {
                name,
                cause: cause.to_owned(),
            })
        };
        if self.user.is_some() != self.password.is_some() {
            return wrong("user", "expected `user` and `password`, or none of them");
        }
        let ways = [
            self.user.is_some(),
            self.token.is_some(),
            self.credentials_file.is_some(),
        ];
        if ways.into_iter().filter(|it| *it).count() > 1 {
            return wrong(
                "user",
                "expected one way to log in: a user with a password, a token, or a credentials file",
            );
        }
        Ok(())
    }

    pub(crate) fn subjects(&self) -> Result<Subjects, Error> {
        match &self.prefix {
            None => Ok(Subjects::default()),
            Some(prefix) => Subjects::new(prefix).map_err(|error| Error::Option {
                name: "prefix",
                cause: error.to_string(),
            }),
        }
    }

    /// Who logs in, as errors say it.
    pub(crate) fn who(&self) -> String {
        match (&self.user, &self.token, &self.credentials_file) {
            (Some(user), ..) => user.clone(),
            (_, Some(_), _) => "the token".to_owned(),
            (.., Some(path)) => path.display().to_string(),
            _ => "nobody in particular".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_never_work_is_refused() {
        let good = NatsPeerOptions {
            user: Some("u".to_owned()),
            password: Some("secret".to_owned()),
            prefix: Some("site.bk.".to_owned()),
            ..NatsPeerOptions::default()
        };
        assert!(good.check().is_ok() && NatsPeerOptions::default().check().is_ok());
        assert!(!format!("{good:?}").contains("secret"));
        let wrong = [
            NatsPeerOptions {
                password: None,
                ..good.clone()
            },
            NatsPeerOptions {
                token: Some("t".to_owned()),
                ..good.clone()
            },
            NatsPeerOptions {
                prefix: Some("a b".to_owned()),
                ..good
            },
        ];
        for (options, named) in wrong.iter().zip(["`password`", "one way", "`a b`"]) {
            let error = options.check().unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
