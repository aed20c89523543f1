//! Running the command, and an endpoint in this process for it to talk to.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use broker::{Endpoint, Event, StatusCode};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// Nothing here takes that long unless it is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How a command ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// The output as JSON, a value per line.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        let lines = self.out.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// The command with these arguments, knowing nothing of the user's surroundings.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broker"));
    for name in ["BROKER_URL", "NO_COLOR", "NOTIFY_SOCKET", "WATCHDOG_USEC"] {
        command.env_remove(name);
    }
    for name in broker::proto::zmtp::KEY_VARIABLES {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .env("BROKER_CONFIG", "/nonexistent/contexts.toml")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs the command to its end.
pub(crate) fn run(arguments: &[&str]) -> Ended {
    Running::start(&mut command(arguments)).end()
}

/// A command that has not ended yet.
pub(crate) struct Running {
    child: Child,
    pub(crate) input: Option<ChildStdin>,
    pub(crate) output: Option<BufReader<ChildStdout>>,
    errors: mpsc::Receiver<String>,
    said: Vec<String>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = child.stdout.take().map(BufReader::new);
        let errors = read_lines(child.stderr.take().unwrap());
        Self {
            child,
            input,
            output,
            errors,
            said: Vec::new(),
        }
    }

    /// The next line of the output.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.output.as_mut().unwrap().read_line(&mut line).unwrap();
        assert!(read > 0, "the output is over; said: {:?}", self.rest());
        line.trim_end().to_owned()
    }

    /// Reads the output up to a line that begins with that text.
    #[track_caller]
    pub(crate) fn prints(&mut self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.starts_with(text) {
                return line;
            }
        }
    }

    /// Waits until a line with that text is on standard error.
    #[track_caller]
    pub(crate) fn says(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.errors.recv_timeout(left) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => panic!("`{text}` was not said: {:#?}", self.said),
            }
        }
    }

    fn rest(&mut self) -> Vec<String> {
        self.said.extend(self.errors.iter());
        std::mem::take(&mut self.said)
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Stops the process and waits until none of its threads runs.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
        let pid = Some(self.pid());
        let (_, status) = waitpid(pid, WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped());
    }

    /// The exit code, if it has ended.
    pub(crate) fn try_end(&mut self) -> Option<Option<i32>> {
        self.child.try_wait().unwrap().map(|status| status.code())
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        drop(self.input.take());
        let output = self.output.take();
        let reading = std::thread::spawn(move || {
            let mut out = Vec::new();
            let read = output.map(|mut output| output.read_to_end(&mut out));
            read.transpose().unwrap();
            out
        });
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "it does not end: {:?}",
                self.said
            );
            std::thread::sleep(Duration::from_millis(2));
        };
        let out = reading.join().unwrap();
        Ended {
            code: status.code(),
            out: String::from_utf8_lossy(&out).into_owned(),
            err: self.rest().join("\n"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed leaves no process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(errors: ChildStderr) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(errors).lines() {
            let Ok(line) = line else { return };
            let _ = sender.send(line);
        }
    });
    receiver
}

/// An endpoint of this process that the command connects to.
pub(crate) struct Peer {
    pub(crate) endpoint: Endpoint,
    pub(crate) url: String,
    statuses: broker::StatusSubscriber,
}

impl Peer {
    pub(crate) fn plain() -> Self {
        Self::at(true, 0)
    }

    pub(crate) fn at(plain: bool, port: u16) -> Self {
        let endpoint = Endpoint::builder().disable_ssl(plain).build().unwrap();
        let statuses = endpoint.status_subscriber(true).unwrap();
        let port = endpoint.listen("127.0.0.1", port).wait().unwrap();
        Self {
            endpoint,
            url: format!("127.0.0.1:{port}"),
            statuses,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.url.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// Waits until the command is there.
    #[track_caller]
    pub(crate) fn await_peer(&self) {
        loop {
            match self.statuses.recv_timeout(DEADLINE).unwrap() {
                Some(Event::Status(status)) if status.code == StatusCode::PeerAdded => return,
                Some(_) => {}
                None => panic!("no peer came"),
            }
        }
    }

    /// Takes the events so far.
    pub(crate) fn forget_events(&self) {
        while self.statuses.try_recv().is_some() {}
    }

    /// Runs the command with `-u` of this peer and without TLS.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command.args(["--no-tls", "-u", &self.url]);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Running::start(&mut self.command(arguments)).end()
    }

    /// Starts the command and waits until it is there.
    #[track_caller]
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let running = Running::start(&mut self.command(arguments));
        self.await_peer();
        running
    }
}

/// Runs the command with that standard input.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Ended {
    let mut running = Running::start(command.stdin(Stdio::piped()));
    // A command that refuses it does not read it.
    let _ = running.input.as_mut().unwrap().write_all(input.as_bytes());
    running.end()
}
