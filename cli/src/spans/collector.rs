//! Keeps the library's spans: the subscriber that it has none of.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::SystemTime;

use tracing_core::Event;
use tracing_core::Interest;
use tracing_core::LevelFilter;
use tracing_core::Metadata;
use tracing_core::Subscriber;
use tracing_core::field::Field;
use tracing_core::field::Visit;
use tracing_core::span::Attributes;
use tracing_core::span::Current;
use tracing_core::span::Id;
use tracing_core::span::Record;

use super::config::Around;

/// The target of the library's spans. Other crates have theirs, which nobody asked for.
const TARGET: &str = "aril";

/// The most spans that are kept; the oldest go.
const SPANS_MAX: usize = 1024;

/// The most characters of a text that is kept: some are told by strangers.
const TEXT_SIZE_MAX: usize = 4096;

/// The span whose end is one of a guest's runs.
const GUEST: &str = "guest";

/// A span that has ended, or will have.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) trace: u128,
    pub(super) number: u64,
    pub(super) parent: Option<u64>,
    pub(super) name: &'static str,
    pub(super) started: SystemTime,
    pub(super) ended: SystemTime,
    pub(super) values: Vec<(&'static str, Value)>,
}

/// What is known of a span by a name.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Real(f64),
    Truth(bool),
}

/// A span that goes on, and how many hold it.
struct Open {
    span: Span,
    metadata: &'static Metadata<'static>,
    holders: usize,
}

struct State {
    /// The one of the verb, until its end.
    verb: Option<Span>,
    open: HashMap<u64, Open>,
    ended: Vec<Span>,
}

/// All spans of this process.
#[derive(Clone)]
pub(super) struct Collector {
    trace: u128,
    verb: u64,
    state: Arc<Mutex<State>>,
}

thread_local! {
    /// The spans that this thread is in, the innermost last.
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// A number by chance, which is not 0.
fn number() -> u64 {
    RandomState::new().hash_one(SystemTime::now()).max(1)
}

impl Collector {
    pub(super) fn new(verb: &str, around: Option<Around>) -> Self {
        let trace = around.map_or_else(
            || u128::from(number()) << 64 | u128::from(number()),
            |around| around.trace,
        );
        let now = SystemTime::now();
        let span = Span {
            trace,
            number: number(),
            parent: around.map(|around| around.span),
            name: "aril",
            started: now,
            ended: now,
            values: vec![("verb", Value::Text(verb.to_owned()))],
        };
        let verb = span.number;
        let state = State { verb: Some(span), open: HashMap::new(), ended: Vec::new() };
        Self { trace, verb, state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has ended and was not taken yet.
    pub(super) fn take(&self) -> Vec<Span> {
        std::mem::take(&mut self.state().ended)
    }

    /// Keeps again what was taken.
    pub(super) fn put_back(&self, mut taken: Vec<Span>) {
        let mut state = self.state();
        taken.append(&mut state.ended);
        state.ended = taken;
        state.bound();
    }

    /// Ends all that goes on, and the verb.
    pub(super) fn end(&self) {
        let now = SystemTime::now();
        let mut state = self.state();
        let open: Vec<Open> = state.open.drain().map(|(_, open)| open).collect();
        state.ended.extend(open.into_iter().map(|open| Span { ended: now, ..open.span }));
        if let Some(mut verb) = state.verb.take() {
            verb.ended = now;
            state.ended.push(verb);
        }
    }
}

impl State {
    fn bound(&mut self) {
        let more = self.ended.len().saturating_sub(SPANS_MAX);
        self.ended.drain(..more);
    }
}

impl Subscriber for Collector {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target() == TARGET
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let number = number();
        let entered = || ENTERED.with_borrow(|entered| entered.last().copied());
        let parent = match attributes.parent() {
            Some(parent) => Some(parent.into_u64()),
            None if attributes.is_contextual() => entered(),
            None => None,
        };
        let now = SystemTime::now();
        let mut values = Values(Vec::new());
        attributes.record(&mut values);
        let metadata = attributes.metadata();
        let span = Span {
            trace: self.trace,
            number,
            parent: Some(parent.unwrap_or(self.verb)),
            name: metadata.name(),
            started: now,
            ended: now,
            values: values.0,
        };
        self.state().open.insert(number, Open { span, metadata, holders: 1 });
        Id::from_u64(number)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        if let Some(open) = self.state().open.get_mut(&span.into_u64()) {
            let mut all = Values(std::mem::take(&mut open.span.values));
            values.record(&mut all);
            open.span.values = all.0;
        }
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, _event: &Event<'_>) {}

    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| {
            if let Some(place) = entered.iter().rposition(|number| *number == span.into_u64()) {
                entered.remove(place);
            }
        });
    }

    fn clone_span(&self, span: &Id) -> Id {
        if let Some(open) = self.state().open.get_mut(&span.into_u64()) {
            open.holders += 1;
        }
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let is_guest = {
            let mut state = self.state();
            let Some(open) = state.open.get_mut(&span.into_u64()) else { return false };
            open.holders -= 1;
            if open.holders != 0 {
                return false;
            }
            let Some(open) = state.open.remove(&span.into_u64()) else { return false };
            let is_guest = open.span.name == GUEST;
            state.ended.push(Span { ended: SystemTime::now(), ..open.span });
            state.bound();
            is_guest
        };
        if is_guest && crate::commands::goes_on_alone() {
            super::send_aside();
        }
        true
    }

    fn current_span(&self) -> Current {
        let Some(number) = ENTERED.with_borrow(|entered| entered.last().copied()) else {
            return Current::none();
        };
        let metadata = self.state().open.get(&number).map(|open| open.metadata);
        metadata.map_or_else(Current::none, |metadata| Current::new(Id::from_u64(number), metadata))
    }
}

/// What is recorded of a span: what is recorded again is as it was last.
struct Values(Vec<(&'static str, Value)>);

impl Values {
    fn set(&mut self, field: &Field, value: Value) {
        self.0.retain(|(name, _)| *name != field.name());
        self.0.push((field.name(), value));
    }

    fn text(&mut self, field: &Field, text: &str) {
        self.set(field, Value::Text(text.chars().take(TEXT_SIZE_MAX).collect()));
    }
}

impl Visit for Values {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, Value::Truth(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, Value::Number(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match value.try_into() {
            Ok(value) => self.set(field, Value::Number(value)),
            Err(_) => self.text(field, &value.to_string()),
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, Value::Real(value));
    }
}
