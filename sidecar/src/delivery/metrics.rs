//! What the process counts of its deliveries, for `/metrics`. Each handle is looked up once, so that an attempt costs
//! a few atomic additions. Without an API nobody collects them, and they cost nothing.

use metrics::{Counter, Gauge, Histogram, Unit, describe_counter, describe_gauge, describe_histogram};

use super::attempt::Attempt;

/// The name of the histogram of attempts.
pub const ATTEMPT_DURATION: &str = "pg_webhooks_attempt_duration_seconds";
const ATTEMPTS: &str = "pg_webhooks_attempts_total";
const RESENT: &str = "pg_webhooks_requests_resent_total";
const IN_FLIGHT: &str = "pg_webhooks_requests_in_flight";

/// The handles of the delivery's metrics; cheap to clone.
#[derive(Clone)]
pub struct DeliveryMetrics {
    /// By class of status: no response, 2xx, 3xx, 4xx, 5xx.
    attempts: [Counter; 5],
    resent: Counter,
    duration: Histogram,
    in_flight: Gauge,
}

/// Counts a request as in flight until it is dropped.
pub struct InFlightRequest<'a>(&'a Gauge);

impl Drop for InFlightRequest<'_> {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

impl DeliveryMetrics {
    /// Looks the handles up in the recorder that is installed.
    pub fn new() -> Self {
        describe_counter!(
            ATTEMPTS,
            "Delivery attempts of this process that are over, by class of HTTP status; none: no response came"
        );
        describe_counter!(
            RESENT,
            "Requests of this process sent again at once, as a kept-alive connection was closed before a response"
        );
        describe_histogram!(ATTEMPT_DURATION, Unit::Seconds, "How long delivery attempts took");
        describe_gauge!(IN_FLIGHT, "Delivery requests of this process under way");
        let attempts = ["none", "2xx", "3xx", "4xx", "5xx"];
        Self {
            attempts: attempts.map(|class| metrics::counter!(ATTEMPTS, "class" => class)),
            resent: metrics::counter!(RESENT),
            duration: metrics::histogram!(ATTEMPT_DURATION),
            in_flight: metrics::gauge!(IN_FLIGHT),
        }
    }

    /// A request starts.
    pub fn request_started(&self) -> InFlightRequest<'_> {
        self.in_flight.increment(1);
        InFlightRequest(&self.in_flight)
    }

    /// A request met a dying connection and is sent again.
    pub fn request_resent(&self) {
        self.resent.increment(1);
    }

    /// An attempt is over.
    pub fn attempt_ended(&self, attempt: &Attempt) {
        let status = attempt.outcome.as_ref().map_or(0, |response| response.status.as_u16());
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(attempts) = self.attempts.get(class) {
            attempts.increment(1);
        }
        self.duration.record(attempt.started.elapsed());
    }
}
