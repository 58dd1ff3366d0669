use super::*;

const LIMITS: Limits = Limits { per_endpoint: 32, global: 128 };
const SECOND: Duration = Duration::from_secs(1);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Queues under a clock of the test's own; what is sent is a number.
struct Simulated {
    queues: Queues<u32>,
    limits: EndpointLimits,
    now: Instant,
    under_way: Vec<(i32, Lane, u32, Instant)>,
}

impl Simulated {
    fn new() -> Self {
        let now = Instant::now();
        Self { queues: Queues::new(LIMITS, now), limits: EndpointLimits::default(), now, under_way: Vec::new() }
    }

    fn push(&mut self, endpoint: i32, deliveries: std::ops::Range<u32>) {
        deliveries.for_each(|delivery| self.push_one(endpoint, Lane::First(None), delivery));
    }

    fn push_one(&mut self, endpoint: i32, lane: Lane, delivery: u32) {
        self.queues.push(endpoint, &format!("http://{endpoint}"), self.limits, lane, delivery, self.now);
    }

    /// Starts all that may start; returns it.
    fn start(&mut self) -> Vec<(i32, u32)> {
        self.queues.advance(self.now);
        let mut started = Vec::new();
        while let Some((endpoint, lane, delivery)) = self.queues.next(self.now) {
            self.under_way.push((endpoint, lane, delivery, self.now));
            started.push((endpoint, delivery));
        }
        started
    }

    /// Ends the requests under way to an endpoint; returns how many there were.
    fn end(&mut self, endpoint: i32, outcome: Outcome) -> usize {
        let (ended, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.under_way).into_iter().partition(|(to, ..)| *to == endpoint);
        self.under_way = rest;
        for (endpoint, lane, _, started) in &ended {
            self.queues.complete(*endpoint, *lane, outcome, *started, self.now);
        }
        ended.len()
    }

    fn under_way(&self, endpoint: i32) -> usize {
        self.under_way.iter().filter(|(to, ..)| *to == endpoint).count()
    }

    /// Sends round trips of `duration` until nothing is queued for the endpoint; returns how many it took.
    fn drain(&mut self, endpoint: i32, duration: Duration) -> usize {
        for trip in 0.. {
            self.start();
            self.now += duration;
            if self.end(endpoint, Outcome::Accepted) == 0 {
                return trip;
            }
        }
        unreachable!("the queue ends");
    }
}

#[test]
fn a_long_queue_delays_nobody_else() {
    let mut simulated = Simulated::new();
    simulated.push(1, 0..1000);
    simulated.start();
    simulated.push(2, 0..1);
    assert_eq!(simulated.start(), [(2, 0)]);
}

#[test]
fn those_with_something_to_send_take_turns() {
    let mut simulated = Simulated::new();
    simulated.push(1, 0..3);
    simulated.push(2, 0..3);
    assert_eq!(simulated.start(), [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (2, 2)]);
}

#[test]
fn an_endpoint_that_answers_gets_twice_as_many_each_round_trip_up_to_its_limit() {
    let mut simulated = Simulated::new();
    simulated.push(1, 0..1000);
    let mut widths = Vec::new();
    for _ in 0..5 {
        simulated.start();
        simulated.now += ms(5);
        widths.push(simulated.end(1, Outcome::Accepted));
    }
    assert_eq!(widths, [4, 8, 16, 32, 32]);
}

#[test]
fn a_burst_of_failures_halves_the_window_once() {
    let mut simulated = Simulated::new();
    simulated.push(1, 0..2000);
    for _ in 0..4 {
        simulated.start();
        simulated.now += ms(5);
        simulated.end(1, Outcome::Accepted);
    }
    assert_eq!(simulated.start().len(), 32);
    simulated.now += ms(5);
    simulated.end(1, Outcome::Failed);
    assert_eq!(simulated.start().len(), 16);
    simulated.now += ms(5);
    simulated.end(1, Outcome::Accepted);
    assert_eq!(simulated.start().len(), 17, "and it grows by one a round trip");
}

#[test]
fn what_is_about_one_row_goes_one_at_a_time_and_what_is_about_another_does_not_wait() {
    let mut simulated = Simulated::new();
    for (key, delivery) in [(7, 0), (7, 1), (8, 2), (7, 3)] {
        simulated.push_one(1, Lane::First(Some(key)), delivery);
    }
    assert_eq!(simulated.start(), [(1, 0), (1, 2)]);
    simulated.now += ms(5);
    simulated.end(1, Outcome::Failed);
    assert_eq!(simulated.start(), [(1, 1)], "its answer may be any");
    simulated.end(1, Outcome::Accepted);
    assert_eq!(simulated.start(), [(1, 3)]);
}

#[test]
fn an_answer_about_a_row_is_waited_for_two_seconds() {
    let mut simulated = Simulated::new();
    simulated.push_one(1, Lane::First(Some(7)), 0);
    simulated.push_one(1, Lane::First(Some(7)), 1);
    assert_eq!(simulated.start(), [(1, 0)]);
    simulated.now += ms(1900);
    assert_eq!(simulated.start(), []);
    simulated.now += ms(200);
    assert_eq!(simulated.start(), [(1, 1)]);
}

#[test]
fn a_retry_neither_waits_for_its_row_nor_is_waited_for() {
    let mut simulated = Simulated::new();
    simulated.push_one(1, Lane::First(Some(7)), 0);
    simulated.push_one(1, Lane::Retry, 1);
    assert_eq!(simulated.start().len(), 2);
}

#[test]
fn hanging_endpoints_leave_the_others_half_of_the_slots() {
    let mut simulated = Simulated::new();
    for endpoint in 1..=100 {
        simulated.push(endpoint, 0..100);
    }
    simulated.start();
    // They keep what they had when they fell silent, and get no more than half of all.
    simulated.now += SECOND + ms(200);
    for endpoint in 1..=50 {
        simulated.end(endpoint, Outcome::Ours);
    }
    simulated.start();
    let hanging: usize = (51..=100).map(|endpoint| simulated.under_way(endpoint)).sum();
    assert!(hanging <= LIMITS.global / 2 + 4, "{hanging}");
    let healthy: usize = (1..=50).map(|endpoint| simulated.under_way(endpoint)).sum();
    assert!(healthy >= LIMITS.global / 2 - 4, "{healthy}");
}

#[test]
fn those_that_timed_out_share_an_eighth_of_the_slots_one_request_each() {
    let mut simulated = Simulated::new();
    for endpoint in 1..=20 {
        simulated.push(endpoint, 0..100);
    }
    simulated.start();
    simulated.now += 30 * SECOND;
    (1..=20).for_each(|endpoint| assert!(simulated.end(endpoint, Outcome::Silent) > 0));
    simulated.start();
    let under_way: Vec<usize> = (1..=20).map(|endpoint| simulated.under_way(endpoint)).collect();
    assert!(under_way.iter().all(|count| *count <= 1), "{under_way:?}");
    assert_eq!(under_way.iter().sum::<usize>(), LIMITS.global / 8);
    let one = under_way.iter().position(|count| *count == 1).expect("one has a request") as i32 + 1;
    simulated.end(one, Outcome::Accepted);
    simulated.start();
    assert!(simulated.under_way(one) > 1, "one that answers is like any other");
}

#[test]
fn endpoints_of_one_origin_share_its_silence() {
    let mut simulated = Simulated::new();
    for endpoint in 1..=40 {
        (0..10).for_each(|n| {
            simulated.queues.push(endpoint, "http://provider", simulated.limits, Lane::First(None), n, simulated.now)
        });
    }
    simulated.start();
    simulated.now += 30 * SECOND;
    (1..=40).for_each(|endpoint| assert!(simulated.end(endpoint, Outcome::Silent) > 0));
    assert_eq!(simulated.start().len(), 1, "one request probes all of them");
}

#[test]
fn a_receiver_of_fifty_a_second_gets_nearly_all_that_it_allows() {
    let mut simulated = Simulated::new();
    simulated.push(1, 0..10_000);
    let (mut accepted, mut refused) = (0, 0);
    let mut this_second = (0, 0);
    // Windows of one second; an answer takes 5 ms.
    for tick in 0..24_000_u64 {
        if this_second.0 != tick / 200 {
            this_second = (tick / 200, 0);
        }
        for (_, lane, _, started) in std::mem::take(&mut simulated.under_way) {
            let outcome = if this_second.1 < 50 { Outcome::Accepted } else { Outcome::Throttled(Some(SECOND)) };
            if outcome == Outcome::Accepted {
                (accepted, this_second.1) = (accepted + 1, this_second.1 + 1);
            } else {
                refused += 1;
            }
            simulated.queues.complete(1, lane, outcome, started, simulated.now);
        }
        simulated.start();
        simulated.now += ms(5);
    }
    let allowed = 50 * 24_000 / 200;
    assert!(accepted * 100 >= allowed * 95, "{accepted} of {allowed}, {refused} refused");
    assert!(refused < 200, "{refused}");
}

#[test]
fn retry_after_is_a_pause_that_one_request_ends() {
    let mut simulated = Simulated::new();
    simulated.push(1, 0..100);
    simulated.start();
    simulated.end(1, Outcome::Throttled(Some(10 * SECOND)));
    simulated.now += 9 * SECOND;
    assert_eq!(simulated.start(), []);
    simulated.now += 2 * SECOND;
    assert_eq!(simulated.start().len(), 1);
    simulated.now += SECOND;
    assert_eq!(simulated.start(), [], "until it is answered");
    simulated.end(1, Outcome::Accepted);
    simulated.now += SECOND;
    assert!(!simulated.start().is_empty());
}

#[test]
fn after_a_thousand_failures_nothing_more_is_read_and_one_at_a_time_probes() {
    let mut simulated = Simulated::new();
    simulated.push(1, 0..1100);
    while simulated.queues.may_read(1) {
        simulated.start();
        simulated.now += ms(5);
        simulated.end(1, Outcome::Failed);
    }
    simulated.start();
    simulated.end(1, Outcome::Failed);
    assert_eq!(simulated.start(), [], "not at once");
    let mut probes = 0;
    for _ in 0..300 {
        simulated.now += SECOND;
        probes += simulated.start().len();
        simulated.end(1, Outcome::Failed);
    }
    assert!((5..=20).contains(&probes), "{probes} in five minutes");
    simulated.now += 60 * SECOND;
    simulated.start();
    simulated.end(1, Outcome::Accepted);
    assert!(simulated.queues.may_read(1));
    assert!(!simulated.start().is_empty(), "a success ends it");
}

#[test]
fn what_is_taken_out_of_a_queue_is_all_that_was_not_started() {
    let mut simulated = Simulated::new();
    for delivery in 0..10 {
        simulated.push_one(1, Lane::First(Some(i64::from(delivery % 2))), delivery);
    }
    simulated.push_one(1, Lane::Retry, 10);
    let started = simulated.start().len();
    assert_eq!(simulated.queues.clear(1).len(), 11 - started);
    simulated.end(1, Outcome::Accepted);
    assert_eq!(simulated.start(), []);
    simulated.push(1, 20..21);
    assert_eq!(simulated.start(), [(1, 20)]);
}

#[test]
fn a_fault_of_ours_says_nothing_of_the_endpoint() {
    let mut simulated = Simulated::new();
    simulated.push(1, 0..3000);
    simulated.drain(1, ms(5));
    simulated.push(1, 0..3000);
    assert_eq!(simulated.start().len(), 32);
    simulated.end(1, Outcome::Ours);
    assert_eq!(simulated.start().len(), 32);
}

#[test]
fn an_endpoints_options_bound_its_requests_and_their_rate() {
    let mut simulated = Simulated::new();
    simulated.limits = EndpointLimits { in_flight: Some(2), per_second: None };
    simulated.push(1, 0..100);
    for _ in 0..5 {
        assert_eq!(simulated.start().len(), 2);
        simulated.now += ms(5);
        simulated.end(1, Outcome::Accepted);
    }
    simulated.limits = EndpointLimits { in_flight: None, per_second: Some(10.0) };
    simulated.push(2, 0..100);
    let mut started = 0;
    for _ in 0..500 {
        started += simulated.start().iter().filter(|(endpoint, _)| *endpoint == 2).count();
        simulated.now += ms(10);
        simulated.end(2, Outcome::Accepted);
    }
    assert!((48..=52).contains(&started), "{started} in five seconds");
}
