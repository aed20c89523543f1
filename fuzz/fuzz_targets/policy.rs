//! Any text as a policy file: it is read or refused with a place in it, and what was read decides
//! without a panic, denies what it does not know, and keeps to what a filter was granted.

#![no_main]

use broker_proto::policy::{
    Content, Digest, Operation, PolicyError, Request, SECRET_BYTES, Schema, Secret, TopicRight, decide,
};
use broker_proto::topic::Topic;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The last line is what is asked about.
    let (text, asked) = match bytes.iter().rposition(|it| *it == b'\n') {
        Some(at) => bytes.split_at(at + 1),
        None => (bytes, &bytes[..0]),
    };
    token(asked);
    schema(bytes);
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let file = match broker::policy::PolicyFile::parse(text, "policy.toml") {
        Ok(file) => file,
        Err(error) => {
            let broker::Error::ConfigurationFile { path, place, .. } = error else {
                panic!("{error}");
            };
            let place = place.expect("errors have a place");
            // It may be one in a schema.
            let is_here = path == std::path::Path::new("policy.toml");
            assert!(!is_here || place.line <= text.matches('\n').count() + 1);
            return;
        }
    };
    let policy = file.policy;
    let requests = [
        Request::Publish { topic: asked, content: Content::Event(asked) },
        Request::Publish { topic: asked, content: Content::Other },
        Request::Publish { topic: asked, content: Content::Malformed },
        Request::Subscribe { topic: asked },
        Request::Store { name: asked, operation: Operation::Clear },
        Request::Http { path: asked },
    ];
    for request in &requests {
        assert!(!decide(&policy, "", request).is_allowed());
    }
    for name in policy.principals() {
        let rights = policy.rights(name).expect("it is there");
        for request in &requests {
            let is_allowed = rights.decide(request).is_allowed();
            if let Request::Publish { topic, .. } = request {
                match rights.topic(topic) {
                    TopicRight::All(_) => assert!(is_allowed),
                    TopicRight::Deny(_) => assert!(!is_allowed),
                    TopicRight::ByEvent => {}
                }
            }
        }
        let wanted = Topic::from(asked);
        for granted in rights.granted([&wanted]).topics {
            assert!(granted.as_bytes().starts_with(asked));
            let topic = granted.as_bytes();
            assert!(rights.decide(&Request::Subscribe { topic }).is_allowed());
        }
    }
});

/// Any text as types of arguments, which anything is compared with.
fn schema(bytes: &[u8]) {
    let at = bytes.iter().position(|it| *it == 0).unwrap_or(bytes.len());
    let (text, rest) = bytes.split_at(at);
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    match Schema::parse(text) {
        Ok(schema) => {
            if let Ok(arguments) = broker_data::View::new(rest.get(1..).unwrap_or_default()) {
                let _ = schema.check(text.split('(').next().unwrap_or_default().as_bytes(), arguments);
            }
        }
        Err(error) => assert!(text.is_char_boundary(error.offset)),
    }
}

fn token(bytes: &[u8]) {
    if let Some(random) = bytes.first_chunk::<SECRET_BYTES>() {
        let secret = Secret::from_random(*random);
        let digest = secret.digest();
        assert!(Digest::parse(&digest.to_string()).is_ok_and(|it| it.is_same(&digest)));
        assert!(!format!("{secret:?}{digest:?}").contains(secret.reveal()));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Digest::parse(text);
        let mut policy = broker_proto::policy::Policy::default();
        let now = broker_data::Timestamp::from_ns(0);
        assert_eq!(policy.principal_of_secret(text, now), None);
        let added: Result<(), PolicyError> = policy.add_principal(text, []);
        assert_eq!(added.is_ok(), policy.has_principal(text));
    }
}
