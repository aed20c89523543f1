//! Endpoints that record what goes through them.
#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use broker::recording::{RecordingFileError, RecordingReader};
use broker::{Endpoint, Error, Options, RecordingOptions, Retry};

/// Nothing here takes that long unless it is broken.
const DEADLINE: Duration = Duration::from_secs(60);

fn recording(directory: &Path, messages_max: u64) -> Endpoint {
    let options = Options {
        disable_ssl: true,
        recording: RecordingOptions {
            directory: Some(directory.to_owned()),
            messages_max,
        },
        ..Options::default()
    };
    Endpoint::builder().options(options).build().unwrap()
}

fn only_file(directory: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(directory).unwrap();
    let file = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none());
    file
}

/// Topics and values in the order in which they were recorded.
fn content(directory: &Path) -> Vec<(String, String)> {
    let mut reader = RecordingReader::open(only_file(directory)).unwrap();
    let mut content = Vec::new();
    let take = |content: &mut Vec<_>, topic: &[u8], payload: &[u8]| {
        let topic = String::from_utf8(topic.to_vec()).unwrap();
        content.push((topic, broker::View::new(payload).unwrap().to_string()));
    };
    while reader
        .next_block(|_, message| {
            take(&mut content, message.topic, message.payload);
            Ok::<(), RecordingFileError>(())
        })
        .unwrap()
    {}
    assert!(reader.damage().is_none());
    content
}

fn pair(topic: &str, number: &str) -> (String, String) {
    (topic.to_owned(), number.to_owned())
}

#[test]
fn what_comes_and_what_is_sent_is_recorded_and_whole_after_a_shutdown() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("made").join("here");
    let endpoint = recording(&directory, u64::MAX);
    let other = Endpoint::builder().disable_ssl(true).build().unwrap();
    let subscriber = endpoint.subscriber(["/wanted"]).unwrap();
    let port = endpoint.listen("127.0.0.1", 0).wait().unwrap();
    other.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
    // Peers are asked for nothing more than without a recording.
    other.publish("/unwanted", &1u64).unwrap();
    other.publish("/wanted/a", &2u64).unwrap();
    assert!(subscriber.recv_timeout(DEADLINE).unwrap().is_some());
    endpoint.publish("/nobody", &3u64).unwrap();
    endpoint
        .hub(["/x"])
        .unwrap()
        .publish("/of-a-hub", &4u64)
        .unwrap();
    endpoint.shutdown().wait();
    assert_eq!(
        content(&directory),
        [
            pair("/wanted/a", "2"),
            pair("/nobody", "3"),
            pair("/of-a-hub", "4"),
        ]
    );
    other.shutdown().wait();
}

#[test]
fn no_more_is_recorded_than_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = recording(folder.path(), 2);
    for number in 0..5u64 {
        endpoint.publish("/topic", &number).unwrap();
    }
    endpoint.shutdown().wait();
    assert_eq!(
        content(folder.path()),
        [pair("/topic", "0"), pair("/topic", "1")]
    );
}

#[test]
fn a_place_that_cannot_be_written_is_an_error_of_the_endpoint() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    std::fs::write(&file, b"").unwrap();
    let options = Options {
        disable_ssl: true,
        recording: RecordingOptions {
            directory: Some(file.clone()),
            ..RecordingOptions::default()
        },
        ..Options::default()
    };
    let error = Endpoint::builder().options(options).build().unwrap_err();
    assert!(matches!(error, Error::Recording(_)), "{error}");
    assert!(
        error.to_string().contains(&file.display().to_string()),
        "{error}"
    );
}
