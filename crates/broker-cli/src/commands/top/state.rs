//! What is shown of a node: the view, its order, its filter, what is chosen; and what keys do.

use std::collections::{HashMap, VecDeque};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::widgets::TableState;

use crate::node_status::{NodeEvent, NodeStatus, Queue, age, both, whole};
use crate::outcome::Exit;

/// Events that are kept: what a node keeps itself.
const EVENTS_MAX: usize = 256;

/// Reports whose rates are drawn: five minutes.
pub(super) const HISTORY_MAX: usize = 300;

/// Characters of a filter.
const FILTER_MAX: usize = 64;

/// Whether to go on after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Stay,
    Leave(Exit),
}

/// What the table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Peers,
    Topics,
    Stores,
    Queues,
    Clients,
    Events,
    Forwarder,
}

impl View {
    /// The last one is there only for nodes that have a forwarder, as few do.
    pub(super) const ALL: [Self; 7] = [
        Self::Peers,
        Self::Topics,
        Self::Stores,
        Self::Queues,
        Self::Clients,
        Self::Events,
        Self::Forwarder,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Peers => "Peers",
            Self::Topics => "Topics",
            Self::Stores => "Stores",
            Self::Queues => "Queues",
            Self::Clients => "Clients",
            Self::Events => "Events",
            Self::Forwarder => "Forwarder",
        }
    }

    /// Titles of its columns, texts first.
    pub(super) const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Peers => &["peer", "in/s", "out/s", "waiting", "lost", "rtt"],
            Self::Topics => &["topic", "in/s", "out/s", "in", "out"],
            Self::Stores => &["store", "state", "entries", "changes", "unacked", "clones"],
            Self::Queues => &["reader", "taken/s", "waiting", "most", "lost"],
            Self::Clients => &["application", "now", "received", "sent", "cut off", "lost"],
            Self::Events => &["time", "what"],
            Self::Forwarder => &["connection", "msgs/s", "messages", "waiting", "lost"],
        }
    }

    /// What it says when it is empty.
    pub(super) const fn nothing(self) -> &'static str {
        match self {
            Self::Peers => "nobody is connected",
            Self::Topics => "no message yet",
            Self::Stores => "no data stores",
            Self::Queues => "nobody reads here",
            Self::Clients => "no WebSocket clients",
            Self::Events => "nothing happened",
            Self::Forwarder => "no forwarder",
        }
    }
}

/// A cell: what it says and what it is sorted by.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Text(String),
    /// A number in words of its own.
    Number(f64, String),
}

impl Cell {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Number(_, text) => text,
        }
    }
}

/// A line of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) cells: Vec<Cell>,
    /// Whether something of it does not work.
    pub(super) is_bad: bool,
    /// Names and values for the detail pane.
    pub(super) details: Vec<(&'static str, String)>,
}

/// Counts of one thing in the report before, and per second since.
#[derive(Debug, Clone, Copy, Default)]
struct Flow {
    count: [u64; 2],
    rate: [f64; 2],
}

/// Everything that the screen is drawn from.
#[derive(Debug)]
pub(super) struct State {
    pub(super) url: String,
    pub(super) status: NodeStatus,
    /// Whether there was a report yet.
    pub(super) has_report: bool,
    /// Why the node cannot be asked at the moment.
    pub(super) lost: Option<String>,
    flows: HashMap<String, Flow>,
    pub(super) rate_in: f64,
    pub(super) rate_out: f64,
    /// Bound: `HISTORY_MAX`.
    pub(super) history: VecDeque<(u64, u64)>,
    /// Bound: `EVENTS_MAX`.
    events: VecDeque<NodeEvent>,
    pub(super) view: View,
    /// The column that rows are sorted by.
    pub(super) order: usize,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    pub(super) is_typing: bool,
    /// The report that came while the screen was frozen.
    frozen: Option<Option<Box<NodeStatus>>>,
    pub(super) has_details: bool,
    pub(super) has_help: bool,
    pub(super) table: TableState,
}

impl State {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            status: NodeStatus::default(),
            has_report: false,
            lost: None,
            flows: HashMap::new(),
            rate_in: 0.0,
            rate_out: 0.0,
            history: VecDeque::new(),
            events: VecDeque::new(),
            view: View::Peers,
            order: 0,
            is_reversed: false,
            filter: String::new(),
            is_typing: false,
            frozen: None,
            has_details: false,
            has_help: false,
            table: TableState::default().with_selected(Some(0)),
        }
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// The views that there are for this node, or were when one was chosen.
    pub(super) fn views(&self) -> &'static [View] {
        let has_forwarder = !self.status.forwarders.is_empty() || self.view == View::Forwarder;
        match View::ALL.split_last() {
            Some((_, without)) if !has_forwarder => without,
            _ => &View::ALL,
        }
    }

    // --- what comes ---------------------------------------------------------------------------

    pub(super) fn report(&mut self, status: NodeStatus) {
        self.lost = None;
        match &mut self.frozen {
            Some(later) if self.has_report => *later = Some(Box::new(status)),
            _ => self.show(status),
        }
    }

    fn show(&mut self, status: NodeStatus) {
        let is_same = self.has_report && self.status.id == status.id;
        let seconds = if is_same {
            status.uptime - self.status.uptime
        } else {
            0.0
        };
        if !is_same {
            self.flows.clear();
            self.history.clear();
        }
        let before = std::mem::take(&mut self.flows);
        let mut flows = HashMap::with_capacity(before.len());
        for (key, count) in counts(&status) {
            let rate = match before.get(&key) {
                Some(then) if seconds > 0.0 => std::array::from_fn(|way| {
                    let [now, then] = [count[way], then.count[way]];
                    now.saturating_sub(then) as f64 / seconds
                }),
                _ => [0.0; 2],
            };
            flows.insert(key, Flow { count, rate });
        }
        let peers = flows.iter().filter(|(key, _)| key.starts_with("peer "));
        let (rate_in, rate_out) = peers.fold((0.0, 0.0), |(all_in, all_out), (_, flow)| {
            (all_in + flow.rate[0], all_out + flow.rate[1])
        });
        (self.rate_in, self.rate_out) = (rate_in, rate_out);
        if seconds > 0.0 {
            if self.history.len() >= HISTORY_MAX {
                self.history.pop_front();
            }
            self.history
                .push_back((rate_in.round() as u64, rate_out.round() as u64));
        }
        self.flows = flows;
        self.status = status;
        self.has_report = true;
        self.keep_selection();
    }

    pub(super) fn event(&mut self, event: NodeEvent) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    pub(super) fn lost(&mut self, why: String) {
        self.lost = Some(why);
    }

    /// The last events, the newest first.
    pub(super) fn events(&self) -> impl Iterator<Item = &NodeEvent> {
        self.events.iter().rev()
    }

    // --- keys ---------------------------------------------------------------------------------

    pub(super) fn press(&mut self, key: KeyEvent) -> Step {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Step::Leave(Exit::Done);
        }
        if self.is_typing {
            self.type_filter(key.code);
            return Step::Stay;
        }
        if self.has_help {
            self.has_help = false;
            return Step::Stay;
        }
        match key.code {
            KeyCode::Char('q') => return Step::Leave(Exit::Done),
            KeyCode::Esc if self.has_details => self.has_details = false,
            KeyCode::Esc if !self.filter.is_empty() => self.filter.clear(),
            KeyCode::Esc => return Step::Leave(Exit::Done),
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(self.views().len() - 1),
            KeyCode::Char(digit @ '1'..='7') => {
                let place = usize::from(digit as u8 - b'1');
                if let Some(view) = self.views().get(place) {
                    self.choose(*view);
                }
            }
            KeyCode::Char('s') => {
                self.order = (self.order + 1) % self.view.columns().len();
                self.is_reversed = false;
            }
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char(' ' | 'f') => self.freeze(),
            KeyCode::Enter | KeyCode::Char('d') => self.has_details = !self.has_details,
            KeyCode::Char('?' | 'h') => self.has_help = true,
            KeyCode::Down | KeyCode::Char('j') => self.move_by(1),
            KeyCode::Up | KeyCode::Char('k') => self.move_by(-1),
            KeyCode::PageDown => self.move_by(15),
            KeyCode::PageUp => self.move_by(-15),
            KeyCode::Home | KeyCode::Char('g') => self.move_by(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.move_by(isize::MAX),
            _ => {}
        }
        Step::Stay
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.is_typing = false;
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(character) if self.filter.len() < FILTER_MAX => {
                self.filter.push(character);
            }
            _ => {}
        }
        self.keep_selection();
    }

    fn turn(&mut self, by: usize) {
        let views = self.views();
        let place = views.iter().position(|view| *view == self.view);
        let place = (place.unwrap_or(0) + by) % views.len();
        self.choose(views[place]);
    }

    fn choose(&mut self, view: View) {
        self.view = view;
        self.order = 0;
        self.is_reversed = false;
        self.table = TableState::default().with_selected(Some(0));
    }

    fn freeze(&mut self) {
        self.frozen = match self.frozen.take() {
            None => Some(None),
            Some(later) => {
                if let Some(status) = later {
                    self.show(*status);
                }
                None
            }
        };
    }

    fn move_by(&mut self, by: isize) {
        let rows = self.rows().len();
        let now = self.table.selected().unwrap_or(0);
        let then = now.saturating_add_signed(by).min(rows.saturating_sub(1));
        self.table.select(Some(then));
    }

    fn keep_selection(&mut self) {
        self.move_by(0);
    }

    // --- rows ---------------------------------------------------------------------------------

    /// The lines of the table, in their order.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = match self.view {
            View::Peers => self.peers(),
            View::Topics => self.topics(),
            View::Stores => self.stores(),
            View::Queues => self.queues(),
            View::Clients => self.clients(),
            View::Events => self.event_rows(),
            View::Forwarder => self.forwarders(),
        };
        if !self.filter.is_empty() {
            let wanted = self.filter.to_lowercase();
            let has = |text: &str| text.to_lowercase().contains(&wanted);
            rows.retain(|row| {
                row.cells.iter().any(|cell| has(cell.text()))
                    || row.details.iter().any(|(_, text)| has(text))
            });
        }
        // Events come in order, the newest first.
        if self.view != View::Events {
            rows.sort_by(
                |a, b| match (a.cells.get(self.order), b.cells.get(self.order)) {
                    (Some(Cell::Number(a, _)), Some(Cell::Number(b, _))) => b.total_cmp(a),
                    (Some(a), Some(b)) => a.text().cmp(b.text()),
                    _ => std::cmp::Ordering::Equal,
                },
            );
        }
        if self.is_reversed {
            rows.reverse();
        }
        rows
    }

    fn rates(&self, kind: &str, name: &str) -> [f64; 2] {
        let flow = self.flows.get(&key(kind, name));
        flow.map_or([0.0; 2], |flow| flow.rate)
    }

    fn peers(&self) -> Vec<Row> {
        let peers = self.status.peers.iter().map(|peer| {
            let [rate_in, rate_out] = self.rates("peer", &peer.id);
            let trip = match peer.round_trip {
                Some(seconds) => Cell::Number(seconds, format!("{:.1} ms", seconds * 1e3)),
                None => Cell::Number(-1.0, "-".to_owned()),
            };
            let mut details = vec![
                ("address", peer.place()),
                ("id", peer.id.clone()),
                ("transport", peer.transport.clone()),
                ("direction", peer.direction.clone()),
                ("reconnects", whole(peer.reconnects)),
                ("topics", whole(peer.topics)),
                (
                    "received",
                    both(peer.received.messages, peer.received.bytes),
                ),
                ("round trip", trip.text().to_owned()),
            ];
            details.extend(queue_details(&peer.sent));
            Row {
                cells: vec![
                    Cell::Text(peer.place()),
                    rate(rate_in),
                    rate(rate_out),
                    number(peer.sent.waiting_messages),
                    number(peer.sent.dropped),
                    trip,
                ],
                is_bad: peer.sent.stalled,
                details,
            }
        });
        peers.collect()
    }

    fn topics(&self) -> Vec<Row> {
        let topics = self.status.topics.iter().map(|topic| {
            let [rate_in, rate_out] = self.rates("topic", &topic.prefix);
            Row {
                cells: vec![
                    Cell::Text(topic.prefix.clone()),
                    rate(rate_in),
                    rate(rate_out),
                    number(topic.received.messages),
                    number(topic.published.messages),
                ],
                is_bad: false,
                details: vec![
                    ("prefix", topic.prefix.clone()),
                    (
                        "received",
                        both(topic.received.messages, topic.received.bytes),
                    ),
                    (
                        "published",
                        both(topic.published.messages, topic.published.bytes),
                    ),
                    ("in/s", rate(rate_in).text().to_owned()),
                    ("out/s", rate(rate_out).text().to_owned()),
                ],
            }
        });
        topics.collect()
    }

    fn stores(&self) -> Vec<Row> {
        let stores = self.status.stores.iter().map(|store| {
            let state = match store.working {
                Some(true) => store.role.clone(),
                Some(false) => format!("{}: not working", store.role),
                None => format!("{}: busy", store.role),
            };
            let entries = match store.entries {
                Some(entries) => number(entries),
                None => Cell::Number(-1.0, "-".to_owned()),
            };
            let clones = match store.role.as_str() {
                "master" => number(store.outputs),
                _ => Cell::Number(-1.0, "-".to_owned()),
            };
            Row {
                details: vec![
                    ("name", store.name.clone()),
                    ("role", store.role.clone()),
                    ("state", state.clone()),
                    ("entries", entries.text().to_owned()),
                    ("changes", whole(store.updates)),
                    ("unacked", whole(store.unacknowledged)),
                ],
                cells: vec![
                    Cell::Text(store.name.clone()),
                    Cell::Text(state),
                    entries,
                    number(store.updates),
                    number(store.unacknowledged),
                    clones,
                ],
                is_bad: store.working == Some(false),
            }
        });
        stores.collect()
    }

    fn queues(&self) -> Vec<Row> {
        let queues = self.status.subscribers.iter().map(|one| {
            let [_, taken] = self.rates("queue", &one.number.to_string());
            let topics = one.topics.join(", ");
            let name = one.name.clone().unwrap_or_else(|| topics.clone());
            let mut details = vec![
                ("name", one.name.clone().unwrap_or_else(|| "-".to_owned())),
                ("number", one.number.to_string()),
                ("kind", one.kind.clone()),
                ("topics", topics),
            ];
            details.extend(queue_details(&one.queue));
            Row {
                cells: vec![
                    Cell::Text(format!("{} {name}", one.kind)),
                    rate(taken),
                    number(one.queue.waiting_messages),
                    number(one.queue.waiting_messages_max),
                    number(one.queue.dropped),
                ],
                is_bad: one.queue.stalled,
                details,
            }
        });
        queues.collect()
    }

    fn clients(&self) -> Vec<Row> {
        let clients = self.status.clients.iter().map(|client| Row {
            cells: vec![
                Cell::Text(client.application.clone()),
                number(client.clients),
                number(client.received),
                number(client.sent),
                number(client.overflowed),
                number(client.dropped),
            ],
            is_bad: false,
            details: vec![
                ("application", client.application.clone()),
                ("connected", whole(client.clients)),
                ("received", whole(client.received)),
                ("sent", whole(client.sent)),
                ("refused", whole(client.refused)),
                ("cut off", whole(client.overflowed)),
                ("lost", whole(client.dropped)),
            ],
        });
        clients.collect()
    }

    fn event_rows(&self) -> Vec<Row> {
        let events = self.events().map(|event| Row {
            cells: vec![
                Cell::Text(clock(&event.time).to_owned()),
                Cell::Text(in_words(event)),
            ],
            is_bad: event.kind == "error",
            details: vec![
                ("time", event.time.clone()),
                ("code", event.code.clone()),
                ("peer", event.peer.clone().unwrap_or_else(|| "-".to_owned())),
                (
                    "address",
                    event.address.clone().unwrap_or_else(|| "-".to_owned()),
                ),
                ("text", event.text.clone()),
            ],
        });
        events.collect()
    }

    /// Each forwarder, and its connections.
    fn forwarders(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for it in &self.status.forwarders {
            let [received, _] = self.rates("forwarder", &it.xpub);
            let waiting = it.waiting();
            let at = |side, address: &str| {
                let count = it.of(side).count() as u64;
                format!("{} at {address}", whole(count))
            };
            rows.push(Row {
                cells: vec![
                    Cell::Text(format!("forwarder {}", it.xpub)),
                    rate(received),
                    number(it.messages),
                    number(waiting.messages),
                    number(it.dropped),
                ],
                is_bad: false,
                details: vec![
                    ("subscribers", at("subscriber", &it.xpub)),
                    ("publishers", at("publisher", &it.xsub)),
                    ("topics", whole(it.subscriptions)),
                    ("received", both(it.messages, it.bytes)),
                    ("unwanted", whole(it.unwanted)),
                    ("waiting", both(waiting.messages, waiting.bytes)),
                    ("lost", whole(it.dropped)),
                    ("denied", whole(it.denied)),
                    ("refused", whole(it.refused_connections)),
                ],
            });
            rows.extend(it.connections.iter().map(|one| {
                let name = one.name();
                let [messages, _] = self.rates("outlet", &format!("{} {name}", it.xpub));
                Row {
                    details: vec![
                        ("connection", name.clone()),
                        ("key", one.key.clone().unwrap_or_else(|| "-".to_owned())),
                        (
                            "principal",
                            one.principal.clone().unwrap_or_else(|| "-".to_owned()),
                        ),
                        ("messages", both(one.messages, one.bytes)),
                        ("waiting", both(one.waiting_messages, one.waiting_bytes)),
                        ("lost", whole(one.dropped)),
                    ],
                    cells: vec![
                        Cell::Text(name),
                        rate(messages),
                        number(one.messages),
                        number(one.waiting_messages),
                        number(one.dropped),
                    ],
                    is_bad: one.dropped > 0 && one.waiting_messages > 0,
                }
            }));
        }
        rows
    }

    /// How long the node runs, in words.
    pub(super) fn up(&self) -> String {
        age(self.status.uptime)
    }
}

/// An event in one line.
pub(super) fn in_words(event: &NodeEvent) -> String {
    let place = event.address.as_ref().or(event.peer.as_ref());
    match place {
        Some(place) => format!("{} {place}: {}", event.code, event.text),
        None => format!("{}: {}", event.code, event.text),
    }
}

/// The time of day of an ISO 8601 time.
pub(super) fn clock(time: &str) -> &str {
    let (_, clock) = time.split_once('T').unwrap_or(("", time));
    clock.get(..8).unwrap_or(clock)
}

fn key(kind: &str, name: &str) -> String {
    format!("{kind} {name}")
}

/// What rates are made of: in and out, by what it is.
fn counts(status: &NodeStatus) -> Vec<(String, [u64; 2])> {
    let peers = status.peers.iter().map(|peer| {
        let count = [peer.received.messages, peer.sent.messages];
        (key("peer", &peer.id), count)
    });
    let topics = status.topics.iter().map(|topic| {
        let count = [topic.received.messages, topic.published.messages];
        (key("topic", &topic.prefix), count)
    });
    let queues = status.subscribers.iter().map(|one| {
        let count = [0, one.queue.messages];
        (key("queue", &one.number.to_string()), count)
    });
    let forwarders = status.forwarders.iter().flat_map(|it| {
        let whole = (key("forwarder", &it.xpub), [it.messages, 0]);
        let connections = it.connections.iter().map(|one| {
            let name = format!("{} {}", it.xpub, one.name());
            (key("outlet", &name), [one.messages, 0])
        });
        std::iter::once(whole).chain(connections)
    });
    peers
        .chain(topics)
        .chain(queues)
        .chain(forwarders)
        .collect()
}

fn number(value: u64) -> Cell {
    Cell::Number(value as f64, whole(value))
}

/// Messages per second.
pub(super) fn rate(value: f64) -> Cell {
    let text = match value {
        0.0 => "0".to_owned(),
        small if small < 10.0 => format!("{small:.1}"),
        large => whole(large.round() as u64),
    };
    Cell::Number(value, text)
}

fn queue_details(queue: &Queue) -> Vec<(&'static str, String)> {
    vec![
        ("sent", both(queue.messages, queue.bytes)),
        ("waiting", both(queue.waiting_messages, queue.waiting_bytes)),
        (
            "most",
            both(queue.waiting_messages_max, queue.waiting_bytes_max),
        ),
        ("lost", whole(queue.dropped)),
        (
            "stalled",
            if queue.stalled {
                "yes: it takes nothing"
            } else {
                "no"
            }
            .to_owned(),
        ),
    ]
}
