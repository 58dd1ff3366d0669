//! Endpoint queues under a clock of the test's own: nothing here sleeps.

use super::*;

const LIMITS: RequestLimits = RequestLimits { per_endpoint: 32, global: 1024 };

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Offers `count` first attempts; how many started, queued and were deferred.
fn offer(queues: &mut EndpointQueues<u32>, endpoint: i32, count: u32, now: Instant) -> (usize, usize, usize) {
    let mut tally = (0, 0, 0);
    for number in 0..count {
        match queues.admit(endpoint, number, now) {
            Admission::Start(_) => tally.0 += 1,
            Admission::Queued => tally.1 += 1,
            Admission::Defer(_) => tally.2 += 1,
        }
    }
    tally
}

#[test]
fn an_endpoint_alone_gets_all_its_slots_and_the_rest_queues() {
    let mut queues = EndpointQueues::new(LIMITS);
    assert_eq!(offer(&mut queues, 1, 100, Instant::now()), (32, 68, 0));
}

#[test]
fn a_queue_that_gets_no_response_is_deferred_and_so_is_what_comes_later() {
    let start = Instant::now();
    let mut queues = EndpointQueues::new(LIMITS);
    offer(&mut queues, 1, 100, start);
    assert!(queues.inspect(start + ms(200)).is_empty());
    assert_eq!(queues.inspect(start + ms(300)).len(), 68);
    assert_eq!(offer(&mut queues, 1, 10, start + ms(310)), (0, 0, 10));
}

#[test]
fn congestion_ends_when_half_the_slots_are_free_again() {
    let start = Instant::now();
    let mut queues = EndpointQueues::new(LIMITS);
    offer(&mut queues, 1, 100, start);
    queues.inspect(start + ms(300));
    for _ in 0..16 {
        queues.complete(1, AttemptKind::First, Outcome::Responded, start + ms(400));
    }
    assert_eq!(offer(&mut queues, 1, 20, start + ms(400)), (16, 4, 0));
}

#[test]
fn a_backlog_of_50000_to_a_healthy_endpoint_is_never_deferred() {
    let mut now = Instant::now();
    let mut queues = EndpointQueues::new(LIMITS);
    let (mut offered, mut done, mut under_way) = (0, 0, 0);
    while done < 50_000 {
        while offered < 50_000 && offered - done < 1024 {
            match queues.admit(1, offered, now) {
                Admission::Start(_) => under_way += 1,
                Admission::Queued => {}
                Admission::Defer(_) => panic!("deferred after {done}"),
            }
            offered += 1;
        }
        now += ms(5);
        for _ in 0..std::mem::take(&mut under_way) {
            queues.complete(1, AttemptKind::First, Outcome::Responded, now);
            done += 1;
        }
        while queues.next(1).is_some() {
            under_way += 1;
        }
        assert!(queues.inspect(now).is_empty(), "deferred after {done}");
    }
    assert!(queues.is_idle());
}

#[test]
fn an_endpoint_that_drains_too_slowly_for_its_backlog_does_not_hold_the_log_up() {
    let start = Instant::now();
    let mut queues = EndpointQueues::new(LIMITS);
    offer(&mut queues, 1, 1024, start);
    let mut deferred = 0;
    for tick in 1..=12 {
        for _ in 0..32 {
            queues.complete(1, AttemptKind::First, Outcome::Responded, start + ms(tick * 100));
            queues.next(1);
        }
        deferred += queues.inspect(start + ms(tick * 100)).len();
    }
    assert!(deferred > 600, "{deferred}");
}

#[test]
fn a_hundred_hanging_endpoints_leave_half_of_the_limit_to_the_others() {
    let start = Instant::now();
    let mut queues = EndpointQueues::new(LIMITS);
    let started: usize = (1..=100).map(|endpoint| offer(&mut queues, endpoint, 32, start).0).sum();
    assert!(started <= 600, "{started}");
    // A newcomer shows that it is healthy with its first request, and has all its slots from then on.
    assert_eq!(offer(&mut queues, 1000, 40, start + ms(10)), (1, 39, 0));
    queues.complete(1000, AttemptKind::First, Outcome::Responded, start + ms(12));
    assert_eq!(std::iter::from_fn(|| queues.next(1000)).count(), 32);
}

#[test]
fn any_number_of_hanging_endpoints_leaves_a_quarter_of_the_limit_to_healthy_ones() {
    let start = Instant::now();
    let mut queues = EndpointQueues::new(LIMITS);
    offer(&mut queues, 9999, 2, start);
    queues.complete(9999, AttemptKind::First, Outcome::Responded, start);
    let started: usize = (1..=2000).map(|endpoint| offer(&mut queues, endpoint, 32, start).0).sum();
    assert_eq!(started, 768);
    assert_eq!(offer(&mut queues, 9999, 40, start).0, 31);
}

#[test]
fn an_endpoint_that_ran_into_the_timeout_gets_nothing_beyond_the_unproven_half() {
    let start = Instant::now();
    let mut queues = EndpointQueues::new(LIMITS);
    offer(&mut queues, 7777, 1, start);
    queues.complete(7777, AttemptKind::First, Outcome::TimedOut, start);
    for endpoint in 1..=100 {
        offer(&mut queues, endpoint, 32, start);
    }
    assert_eq!(offer(&mut queues, 7777, 1, start).0, 0);
    assert_eq!(offer(&mut queues, 8888, 1, start).0, 1);
}

#[test]
fn hanging_endpoints_that_congested_get_nothing_beyond_their_half() {
    let start = Instant::now();
    let mut queues = EndpointQueues::new(LIMITS);
    for endpoint in 1..=600 {
        offer(&mut queues, endpoint, 32, start);
    }
    queues.inspect(start + ms(300));
    assert!(queues.unproven >= 512);
    let started: usize = (1..=600).map(|endpoint| offer(&mut queues, endpoint, 5, start + ms(310)).0).sum();
    assert_eq!(started, 0);
}

#[test]
fn retries_take_at_most_half_of_the_slots() {
    let mut queues = EndpointQueues::<u32>::new(LIMITS);
    let admitted = (0..32).filter(|_| queues.admit_retry(1)).count();
    assert_eq!(admitted, 16);
    assert_eq!(offer(&mut queues, 1, 20, Instant::now()).0, 16);
}

#[test]
fn an_endpoint_says_when_it_has_room_for_retries_again() {
    let now = Instant::now();
    let mut queues = EndpointQueues::<u32>::new(LIMITS);
    while queues.admit_retry(1) {}
    assert_eq!(queues.retry_rooms(), (vec![(1, 0)], 16));
    assert!(queues.complete(1, AttemptKind::Retry, Outcome::TimedOut, now));
    assert!(!queues.complete(1, AttemptKind::Retry, Outcome::TimedOut, now));
}

#[test]
fn an_endpoint_without_work_is_forgotten() {
    let now = Instant::now();
    let mut queues = EndpointQueues::new(LIMITS);
    offer(&mut queues, 1, 1, now);
    queues.complete(1, AttemptKind::First, Outcome::Responded, now);
    assert!(queues.is_idle());
    assert_eq!((queues.in_flight, queues.unproven), (0, 0));
}

#[test]
fn time_without_a_database_does_not_count_as_waiting() {
    let start = Instant::now();
    let mut queues = EndpointQueues::new(LIMITS);
    offer(&mut queues, 1, 100, start);
    queues.restart_queue_clocks(start + ms(5000));
    assert!(queues.inspect(start + ms(5010)).is_empty());
}
