//! What the process counts of its deliveries, for `/metrics`. Each handle is looked up once, so that an attempt costs
//! a few atomic additions; without an API nobody collects them and they cost nothing.

use metrics::{Counter, Gauge, Histogram, Unit, describe_counter, describe_gauge, describe_histogram};

use crate::delivery::Attempt;

/// The name of the histogram.
pub const DURATION: &str = "pg_webhooks_attempt_duration_seconds";
const ATTEMPTS: &str = "pg_webhooks_attempts_total";
const RESENT: &str = "pg_webhooks_requests_resent_total";
const IN_FLIGHT: &str = "pg_webhooks_requests_in_flight";

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct Figures {
    /// Those that brought no response, 2xx, 3xx, 4xx, 5xx.
    attempts: [Counter; 5],
    resent: Counter,
    duration: Histogram,
    in_flight: Gauge,
}

/// A request under way, until it is dropped.
pub struct Flying<'a>(&'a Gauge);

impl Drop for Flying<'_> {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

impl Figures {
    /// The handles of the recorder that is installed.
    pub fn new() -> Self {
        describe_counter!(
            ATTEMPTS,
            "Delivery attempts of this process that are over, by class of HTTP status; none: no response came"
        );
        describe_counter!(
            RESENT,
            "Requests of this process sent again at once, as a kept-alive connection was closed before a response"
        );
        describe_histogram!(DURATION, Unit::Seconds, "How long delivery attempts took");
        describe_gauge!(IN_FLIGHT, "Delivery requests of this process under way");
        let attempts = ["none", "2xx", "3xx", "4xx", "5xx"];
        Self {
            attempts: attempts.map(|class| metrics::counter!(ATTEMPTS, "class" => class)),
            resent: metrics::counter!(RESENT),
            duration: metrics::histogram!(DURATION),
            in_flight: metrics::gauge!(IN_FLIGHT),
        }
    }

    /// A request begins.
    pub fn take_off(&self) -> Flying<'_> {
        self.in_flight.increment(1);
        Flying(&self.in_flight)
    }

    /// A request met a dying connection and is sent again.
    pub fn resent(&self) {
        self.resent.increment(1);
    }

    /// An attempt is over.
    pub fn count(&self, attempt: &Attempt) {
        let status = attempt.outcome.as_ref().map_or(0, |response| response.status.as_u16());
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(attempts) = self.attempts.get(class) {
            attempts.increment(1);
        }
        self.duration.record(attempt.started.elapsed());
    }
}
