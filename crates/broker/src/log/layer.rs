//! Events of `tracing` become records.

use std::fmt::{Debug, Write as _};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use rustc_hash::FxHasher;
use tracing::field::{Field as Name, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::config::Verbosity;
use crate::log::component::Component;
use crate::log::record::{FIELDS_MAX, Field, Record, cut};
use crate::log::sink::{now_time, sinks, verbosity_max};

/// What collects records from `tracing`; see [`layer`](super::layer).
#[derive(Debug)]
pub struct Layer(());

/// The fields of a span.
struct SpanFields(Vec<(Arc<str>, Field)>);

impl Layer {
    pub(super) const fn new() -> Self {
        Self(())
    }

    fn is_wanted(metadata: &Metadata<'_>) -> bool {
        let component = Component::of_target(metadata.target());
        let level = verbosity(*metadata.level());
        sinks().iter().any(|sink| sink.wants(component, level))
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Layer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if Self::is_wanted(metadata) || metadata.is_span() {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // A span is about what happens in it, of whichever component that is.
        metadata.is_span() || Self::is_wanted(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match verbosity_max() {
            Verbosity::Quiet => LevelFilter::OFF,
            Verbosity::Error => LevelFilter::ERROR,
            Verbosity::Warning => LevelFilter::WARN,
            Verbosity::Info => LevelFilter::INFO,
            Verbosity::Debug => LevelFilter::DEBUG,
            Verbosity::Trace => LevelFilter::TRACE,
        })
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(SpanFields(fields.fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let component = Component::of_target(metadata.target());
        let level = verbosity(*metadata.level());
        let sinks = sinks();
        let mut wanting = sinks
            .iter()
            .filter(|it| it.wants(component, level))
            .peekable();
        if wanting.peek().is_none() {
            return;
        }
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(of_span) = span.extensions().get::<SpanFields>() {
                fields.fields.splice(..0, of_span.0.iter().cloned());
            }
        }
        event.record(&mut fields);
        let record = Record {
            time: now_time(),
            level,
            component,
            event: fields.event,
            fields: fields.fields,
            message: fields.message,
        };
        let mut hasher = FxHasher::default();
        metadata.callsite().hash(&mut hasher);
        let place = hasher.finish();
        for sink in wanting {
            sink.push(place, &record);
        }
    }
}

const fn verbosity(level: Level) -> Verbosity {
    match level {
        Level::ERROR => Verbosity::Error,
        Level::WARN => Verbosity::Warning,
        Level::INFO => Verbosity::Info,
        Level::DEBUG => Verbosity::Debug,
        Level::TRACE => Verbosity::Trace,
    }
}

/// Collects what an event or a span has.
#[derive(Default)]
struct Fields {
    event: String,
    message: String,
    fields: Vec<(Arc<str>, Field)>,
}

impl Fields {
    fn put(&mut self, name: &Name, value: Field) {
        match name.name() {
            "event" => self.event = value.as_str().to_owned(),
            "message" => self.message = value.as_str().to_owned(),
            name if self.fields.len() < FIELDS_MAX => self.fields.push((name.into(), value)),
            _ => {}
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, name: &Name, value: &dyn Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        cut(&mut text);
        self.put(name, Field::Shown(text));
    }

    fn record_str(&mut self, name: &Name, value: &str) {
        let mut text = value.to_owned();
        cut(&mut text);
        self.put(name, Field::Text(text));
    }

    fn record_bool(&mut self, name: &Name, value: bool) {
        self.put(name, Field::Boolean(value));
    }

    fn record_i64(&mut self, name: &Name, value: i64) {
        self.put(name, Field::Number(value.to_string()));
    }

    fn record_u64(&mut self, name: &Name, value: u64) {
        self.put(name, Field::Number(value.to_string()));
    }
}
