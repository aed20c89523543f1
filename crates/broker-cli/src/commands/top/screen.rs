//! The state as cells of a terminal.
//!
//! At 80 columns and 24 lines there are the head, the table and the keys; with more room the details
//! stand beside the table and the last events below it.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Row as Cells, Sparkline, Table, Wrap};

use super::state::{HISTORY_MAX, Row, State, View, clock, in_words, rate};
use crate::harmless::is_hidden;
use crate::node_status::whole;

/// From that width on the details are always there.
const WIDE: u16 = 150;

/// From that height on the last events are always there.
const HIGH: u16 = 40;

/// Lines of the last events.
const EVENT_LINES: u16 = 9;

/// Characters of one text at most, which is more than any screen has in a line.
const PRINTED_MAX: usize = 1000;

/// Columns of the details.
const DETAIL_COLUMNS: u16 = 56;

const QUIET: Style = Style::new().fg(Color::DarkGray);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const GOOD: Style = Style::new().fg(Color::Green);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws everything.
pub(super) fn draw(state: &mut State, frame: &mut Frame<'_>) {
    let area = frame.area();
    let is_wide = area.width >= WIDE;
    let shows_events = area.height >= HIGH && state.view != View::Events;
    let [head, tabs, body, events, keys] = Layout::vertical([
        Constraint::Length(4),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(if shows_events { EVENT_LINES } else { 0 }),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_head(state, frame, head);
    draw_tabs(state, frame, tabs);
    let rows = state.rows();
    let chosen = state.table.selected().and_then(|at| rows.get(at)).cloned();
    let has_details = is_wide || state.has_details;
    let [list, details] = Layout::horizontal([
        Constraint::Min(24),
        Constraint::Length(match (has_details, is_wide) {
            (false, _) => 0,
            (true, true) => DETAIL_COLUMNS,
            (true, false) => area.width / 2,
        }),
    ])
    .areas(body);
    draw_table(state, &rows, frame, list);
    if has_details {
        draw_details(chosen.as_ref(), frame, details);
    }
    if shows_events {
        draw_events(state, frame, events);
    }
    draw_keys(state, frame, keys);
    if state.has_help {
        draw_help(frame, area);
    }
}

fn draw_head(state: &State, frame: &mut Frame<'_>, area: Rect) {
    let [text, spark] =
        Layout::horizontal([Constraint::Min(40), Constraint::Length(area.width / 3)]).areas(area);
    let status = &state.status;
    let health = match (&state.lost, &status.ready) {
        (Some(why), _) => Span::styled(printable(why), BAD),
        _ if !state.has_report => Span::styled("waiting for the node", QUIET),
        (None, Some(health)) if !health.is_ok() => {
            Span::styled(printable(&health.reasons.join("; ")), BAD)
        }
        (None, _) => Span::styled("works", GOOD),
    };
    let (waiting, lost) = status.waiting_and_lost();
    let frozen = if state.is_frozen() {
        Span::styled(" FROZEN", BAD)
    } else {
        Span::raw("")
    };
    let lost_style = if lost > 0 { BAD } else { Style::new() };
    let denied = match &status.policy {
        Some(policy) => {
            let denied = policy.denied.saturating_add(policy.limited);
            let style = if denied > 0 { BAD } else { Style::new() };
            Span::styled(format!("  {} denied", whole(denied)), style)
        }
        None => Span::raw(""),
    };
    let lines = vec![
        Line::from(vec![
            Span::styled(state.url.clone(), BOLD),
            Span::styled(format!("  up {}", state.up()), QUIET),
            frozen,
        ]),
        Line::from(health),
        Line::from(vec![
            Span::raw(match status.peers.len() {
                1 => "1 peer  ".to_owned(),
                peers => format!("{} peers  ", whole(peers as u64)),
            }),
            Span::raw(format!("in {}/s  ", rate(state.rate_in).text())),
            Span::raw(format!("out {}/s", rate(state.rate_out).text())),
        ]),
        Line::from(vec![
            Span::raw(format!("{} waiting  ", whole(waiting))),
            Span::styled(format!("{} lost", whole(lost)), lost_style),
            Span::raw(format!("  {} refused", whole(status.refused_connections))),
            denied,
        ]),
    ];
    frame.render_widget(Paragraph::new(lines), text);
    let room = usize::from(spark.width.saturating_sub(1));
    let shown = state.history.len().min(room).min(HISTORY_MAX);
    let bars = state.history.iter().skip(state.history.len() - shown);
    let sums: Vec<u64> = bars
        .map(|(here, there)| here.saturating_add(*there))
        .collect();
    let most = sums.iter().copied().max().unwrap_or(0);
    let title = Line::styled(format!("in and out/s, most {}", whole(most)), QUIET);
    let block = Block::new()
        .borders(Borders::LEFT)
        .border_style(QUIET)
        .title(title);
    let sparkline = Sparkline::default().block(block).data(sums);
    frame.render_widget(sparkline, spark);
}

fn draw_tabs(state: &State, frame: &mut Frame<'_>, area: Rect) {
    let mut spans = Vec::new();
    for (at, view) in state.views().iter().enumerate() {
        let text = format!(" {} {} ", at + 1, view.name());
        spans.push(if *view == state.view {
            Span::styled(text, Style::new().add_modifier(Modifier::REVERSED))
        } else {
            Span::raw(text)
        });
    }
    if !state.filter.is_empty() && !state.is_typing {
        spans.push(Span::styled(format!("  /{}", state.filter), BOLD));
    }
    frame.render_widget(Line::from(spans), area);
}

/// Columns that a number takes.
const NUMBER_COLUMNS: u16 = 10;

fn draw_table(state: &mut State, rows: &[Row], frame: &mut Frame<'_>, area: Rect) {
    let columns = state.view.columns();
    if rows.is_empty() {
        let text = if state.filter.is_empty() {
            state.view.nothing()
        } else {
            "nothing has that in it"
        };
        let text = Paragraph::new(text).style(QUIET).centered();
        let [_, middle] =
            Layout::vertical([Constraint::Percentage(40), Constraint::Min(1)]).areas(area);
        return frame.render_widget(text, middle);
    }
    // What does not fit is left out from the right, but never the first column.
    let texts = match state.view {
        View::Stores => 2,
        _ => 1,
    };
    let first_min = 20;
    let others = area.width.saturating_sub(first_min) / (NUMBER_COLUMNS + 1);
    let shown = columns.len().min(usize::from(others) + 1);
    let widths: Vec<Constraint> = (0..shown)
        .map(|at| match (state.view, at) {
            (View::Events, 0) => Constraint::Length(8),
            (View::Events, _) | (_, 0) => Constraint::Min(first_min),
            (_, at) if at < texts => Constraint::Length(20),
            _ => Constraint::Length(NUMBER_COLUMNS),
        })
        .collect();
    let is_left = |at: usize| at < texts || state.view == View::Events;
    let head = Cells::new(columns.iter().take(shown).enumerate().map(|(at, title)| {
        let is_sorted = at == state.order && state.view != View::Events;
        let title = match (is_sorted, state.is_reversed) {
            (true, false) => format!("{title}▾"),
            (true, true) => format!("{title}▴"),
            (false, _) => (*title).to_owned(),
        };
        aligned(title, is_left(at))
    }));
    let lines = rows.iter().map(|row| {
        let cells = row.cells.iter().take(shown).enumerate();
        let cells = cells.map(|(at, cell)| aligned(printable(cell.text()), is_left(at)));
        Cells::new(cells).style(if row.is_bad { BAD } else { Style::new() })
    });
    let table = Table::new(lines, widths)
        .header(head.style(QUIET.add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_stateful_widget(table, area, &mut state.table);
}

/// Topics and addresses are chosen by others: they cannot move the cursor.
fn printable(text: &str) -> String {
    let shown = text.chars().take(PRINTED_MAX).map(|character| {
        if is_hidden(character) {
            char::REPLACEMENT_CHARACTER
        } else {
            character
        }
    });
    shown.collect()
}

fn aligned(text: String, is_left: bool) -> Line<'static> {
    if is_left {
        Line::raw(text)
    } else {
        Line::raw(text).right_aligned()
    }
}

fn draw_details(row: Option<&Row>, frame: &mut Frame<'_>, area: Rect) {
    let block = Block::new()
        .borders(Borders::LEFT)
        .border_style(QUIET)
        .title(Line::styled(" details ", QUIET));
    let lines: Vec<Line<'_>> = row
        .map(|row| row.details.as_slice())
        .unwrap_or_default()
        .iter()
        .map(|(name, text)| {
            let text = printable(text);
            Line::from(vec![
                Span::styled(format!("{name:<12}"), QUIET),
                Span::raw(text),
            ])
        })
        .collect();
    let text = Paragraph::new(lines).wrap(Wrap { trim: false });
    frame.render_widget(text.block(block), area);
}

fn draw_events(state: &State, frame: &mut Frame<'_>, area: Rect) {
    let block = Block::new()
        .borders(Borders::TOP)
        .border_style(QUIET)
        .title(Line::styled(" lately ", QUIET));
    let lines: Vec<Line<'_>> = state
        .events()
        .take(usize::from(area.height))
        .map(|event| {
            let style = if event.kind == "error" {
                BAD
            } else {
                Style::new()
            };
            let words = printable(&in_words(event));
            Line::from(vec![
                Span::styled(format!("{}  ", clock(&event.time)), QUIET),
                Span::styled(words, style),
            ])
        })
        .collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_keys(state: &State, frame: &mut Frame<'_>, area: Rect) {
    let line = if state.is_typing {
        Line::from(vec![
            Span::styled("filter: ", BOLD),
            Span::raw(state.filter.clone()),
            Span::styled("▏", BOLD),
        ])
    } else {
        Line::styled(
            "q quit  ? help  tab view  s sort  r reverse  / filter  space freeze  enter more",
            QUIET,
        )
    };
    frame.render_widget(line, area);
}

const HELP: &str = "\
tab, 1 to 7     view
up, down, j, k  choose a line; page up, page down, g, G
enter, d        details of it
s, r            sort by the next column; reverse it
/               filter: enter keeps it, escape drops it
space, f        freeze the screen; again to go on
q, escape       quit

rates are per second, since the report before;
red is what takes nothing or does not work";

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let height = HELP.lines().count() as u16 + 2;
    let width = 58;
    let place = Rect {
        x: area.width.saturating_sub(width) / 2,
        y: area.height.saturating_sub(height) / 2,
        width: width.min(area.width),
        height: height.min(area.height),
    };
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(" keys ");
    frame.render_widget(Paragraph::new(HELP).block(block), place);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    use super::super::state::Step;
    use super::*;
    use crate::node_status::{
        Client, Consumer, Forwarder, ForwarderConnection, Health, NodeEvent, NodeStatus, Peer,
        Policy, Queue, Store, Topic, Traffic,
    };
    use crate::outcome::Exit;

    fn status(round: u64) -> NodeStatus {
        let peer = |at: u64| Peer {
            id: format!("00000000-0000-0000-0000-{at:012}"),
            address: format!("10.0.0.{at}"),
            port: 9999,
            transport: "native".to_owned(),
            direction: "incoming".to_owned(),
            reconnects: at,
            topics: 3 * at,
            received: Traffic {
                messages: 1000 * at * round,
                bytes: 100_000 * at * round,
            },
            sent: Queue {
                messages: 250 * at * round,
                bytes: 25_000 * at * round,
                waiting_messages: at,
                waiting_bytes: 100 * at,
                waiting_messages_max: 10 * at,
                waiting_bytes_max: 1000 * at,
                dropped: if at == 2 { 7 } else { 0 },
                stalled: at == 2,
            },
            round_trip: Some(0.001 * at as f64),
        };
        let traffic = |messages: u64| Traffic {
            messages: messages * round,
            bytes: 100 * messages * round,
        };
        let topic = |prefix: &str, received: u64| Topic {
            prefix: prefix.to_owned(),
            received: traffic(received),
            published: traffic(1),
        };
        NodeStatus {
            id: "11111111-2222-3333-4444-555555555555".to_owned(),
            version: "0.1.0".to_owned(),
            time: "2026-01-02T03:04:05.000000000".to_owned(),
            uptime: 3600.0 + round as f64,
            refused_connections: 4,
            peers: (1..=3).map(peer).collect(),
            subscribers: vec![Consumer {
                number: 1,
                name: Some("alerts".to_owned()),
                kind: "subscriber".to_owned(),
                topics: vec!["zeek/event/".to_owned()],
                queue: Queue {
                    messages: 500 * round,
                    ..Queue::default()
                },
            }],
            stores: vec![Store {
                name: "hosts".to_owned(),
                role: "clone".to_owned(),
                entries: Some(12345),
                working: Some(false),
                updates: 99,
                ..Store::default()
            }],
            clients: vec![Client {
                application: "dashboard".to_owned(),
                clients: 2,
                sent: 1000,
                ..Client::default()
            }],
            topics: vec![
                topic("zeek/logs/conn", 900),
                topic("zeek/event/x\u{1b}[2J", 100),
            ],
            ready: Some(Health {
                status: "unavailable".to_owned(),
                reasons: vec!["the peer 10.0.0.2:9999 takes nothing".to_owned()],
            }),
            ..NodeStatus::default()
        }
    }

    fn forwarder(round: u64) -> Forwarder {
        let connection = |address: &str, side: &str, lost: u64| ForwarderConnection {
            address: address.to_owned(),
            port: 41234,
            side: side.to_owned(),
            key: (lost > 0).then(|| "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7".to_owned()),
            principal: (lost > 0).then(|| "dashboard".to_owned()),
            messages: 500 * round,
            bytes: 50_000 * round,
            waiting_messages: 2 * lost,
            waiting_bytes: 200 * lost,
            dropped: lost,
        };
        Forwarder {
            xpub: "0.0.0.0:27760".to_owned(),
            xsub: "0.0.0.0:27761".to_owned(),
            subscriptions: 12,
            messages: 1000 * round,
            bytes: 100_000 * round,
            unwanted: 5,
            dropped: 9,
            denied: 41,
            refused_connections: 1,
            connections: vec![
                connection("10.0.0.7", "publisher", 0),
                connection("2001:db8::7", "subscriber", 0),
                connection("10.0.0.8", "subscriber", 9),
            ],
        }
    }

    fn state() -> State {
        let mut state = State::new("http://node-1:9911");
        for round in 1..=3 {
            state.report(status(round));
        }
        state.event(NodeEvent {
            number: 1,
            time: "2026-01-02T03:04:05.000000000".to_owned(),
            kind: "status".to_owned(),
            code: "peer_added".to_owned(),
            text: "handshake successful".to_owned(),
            address: Some("10.0.0.1:9999".to_owned()),
            ..NodeEvent::default()
        });
        state
    }

    fn press(state: &mut State, code: KeyCode) -> Step {
        state.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn screen(state: &mut State, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(state, frame)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_small_terminal_has_the_table() {
        insta::assert_snapshot!("80x24", screen(&mut state(), 80, 24));
    }

    #[test]
    fn a_large_terminal_has_details_and_events() {
        insta::assert_snapshot!("200x60", screen(&mut state(), 200, 60));
    }

    #[test]
    fn each_view_fits_into_a_small_terminal() {
        let mut state = state();
        let mut screens = String::new();
        for _ in state.views() {
            press(&mut state, KeyCode::Tab);
            screens.push_str(&screen(&mut state, 80, 24));
            screens.push('\n');
        }
        assert_eq!(state.view, View::Peers);
        assert!(!screens.contains('\u{1b}'), "topics move no cursor");
        insta::assert_snapshot!("views", screens);
    }

    #[test]
    fn a_forwarder_has_a_view_where_there_is_one() {
        let mut state = state();
        press(&mut state, KeyCode::Char('7'));
        assert_eq!(state.view, View::Peers);
        for round in 4..=5 {
            state.report(NodeStatus {
                forwarders: vec![forwarder(round)],
                policy: Some(Policy {
                    denied: 41,
                    limited: 2,
                    ..Policy::default()
                }),
                ..status(round)
            });
        }
        press(&mut state, KeyCode::BackTab);
        assert_eq!(state.view, View::Forwarder);
        let mut screens = screen(&mut state, 80, 24);
        screens.push_str(&screen(&mut state, 200, 60));
        press(&mut state, KeyCode::Char('j'));
        press(&mut state, KeyCode::Char('j'));
        screens.push_str(&screen(&mut state, 200, 60));
        insta::assert_snapshot!("forwarder", screens);
        // It stays when there is none any more, and can be left.
        state.report(status(6));
        assert!(screen(&mut state, 80, 24).contains("no forwarder"));
        press(&mut state, KeyCode::Tab);
        assert_eq!(state.view, View::Peers);
        press(&mut state, KeyCode::BackTab);
        assert_eq!(state.view, View::Events);
    }

    #[test]
    fn help_details_and_filter_are_a_key_away() {
        let mut state = state();
        press(&mut state, KeyCode::Enter);
        let mut screens = screen(&mut state, 80, 24);
        for code in [
            KeyCode::Esc,
            KeyCode::Char('/'),
            KeyCode::Char('.'),
            KeyCode::Char('3'),
        ] {
            press(&mut state, code);
        }
        screens.push_str(&screen(&mut state, 80, 24));
        press(&mut state, KeyCode::Enter);
        press(&mut state, KeyCode::Char('?'));
        screens.push_str(&screen(&mut state, 80, 24));
        insta::assert_snapshot!("keys", screens);
        press(&mut state, KeyCode::Char('q'));
        assert!(!state.has_help, "the first key leaves the help");
        assert_eq!(
            press(&mut state, KeyCode::Char('q')),
            Step::Leave(Exit::Done)
        );
    }

    #[test]
    fn any_size_can_be_drawn() {
        let mut state = state();
        state.has_help = true;
        state.has_details = true;
        for (width, height) in [(1, 1), (10, 3), (24, 8), (40, 100), (300, 5)] {
            screen(&mut state, width, height);
        }
    }

    #[test]
    fn an_order_and_a_filter_choose_what_is_seen() {
        let mut state = state();
        let first = |state: &State| {
            state
                .rows()
                .first()
                .map(|row| row.cells[0].text().to_owned())
        };
        assert_eq!(first(&state), Some("10.0.0.1:9999".to_owned()));
        press(&mut state, KeyCode::Char('s'));
        assert_eq!(first(&state), Some("10.0.0.3:9999".to_owned()));
        press(&mut state, KeyCode::Char('r'));
        assert_eq!(first(&state), Some("10.0.0.1:9999".to_owned()));
        state.filter = "0.2".to_owned();
        assert_eq!(state.rows().len(), 1);
        press(&mut state, KeyCode::Esc);
        assert_eq!(state.rows().len(), 3);
    }

    #[test]
    fn a_frozen_screen_catches_up() {
        let mut state = state();
        press(&mut state, KeyCode::Char(' '));
        state.report(status(4));
        state.report(status(5));
        assert_eq!(state.status.uptime, 3603.0);
        press(&mut state, KeyCode::Char(' '));
        assert_eq!(state.status.uptime, 3605.0);
        assert_eq!(state.rate_in, 6000.0);
    }

    #[test]
    fn a_node_that_began_anew_has_no_rates_of_the_one_before() {
        let mut state = state();
        assert_eq!(state.rate_in, 6000.0);
        let mut other = status(0);
        other.id = "other".to_owned();
        state.report(other);
        assert_eq!(state.rate_in, 0.0);
        assert!(state.history.is_empty());
    }
}
