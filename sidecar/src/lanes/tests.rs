//! Lanes under a clock of the test's own: nothing here sleeps.

use super::*;

const LIMITS: Limits = Limits { per_endpoint: 32, global: 1024 };

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Offers `count` first attempts; how many started, queued and were deferred.
fn offer(lanes: &mut Lanes<u32>, endpoint: i32, count: u32, now: Instant) -> (usize, usize, usize) {
    let mut tally = (0, 0, 0);
    for number in 0..count {
        match lanes.admit(endpoint, number, now) {
            Admission::Start(_) => tally.0 += 1,
            Admission::Queued => tally.1 += 1,
            Admission::Defer(_) => tally.2 += 1,
        }
    }
    tally
}

#[test]
fn an_endpoint_alone_gets_all_its_slots_and_the_rest_queues() {
    let mut lanes = Lanes::new(LIMITS);
    assert_eq!(offer(&mut lanes, 1, 100, Instant::now()), (32, 68, 0));
}

#[test]
fn a_queue_that_gets_no_answer_is_deferred_and_so_is_what_comes_later() {
    let start = Instant::now();
    let mut lanes = Lanes::new(LIMITS);
    offer(&mut lanes, 1, 100, start);
    assert!(lanes.inspect(start + ms(200)).is_empty());
    assert_eq!(lanes.inspect(start + ms(300)).len(), 68);
    assert_eq!(offer(&mut lanes, 1, 10, start + ms(310)), (0, 0, 10));
}

#[test]
fn congestion_ends_when_half_the_slots_are_free_again() {
    let start = Instant::now();
    let mut lanes = Lanes::new(LIMITS);
    offer(&mut lanes, 1, 100, start);
    lanes.inspect(start + ms(300));
    for _ in 0..16 {
        lanes.complete(1, Kind::First, Sign::Answer, start + ms(400));
    }
    assert_eq!(offer(&mut lanes, 1, 20, start + ms(400)), (16, 4, 0));
}

#[test]
fn a_backlog_of_50000_to_a_healthy_endpoint_is_never_deferred() {
    let mut now = Instant::now();
    let mut lanes = Lanes::new(LIMITS);
    let (mut offered, mut done, mut under_way) = (0, 0, 0);
    while done < 50_000 {
        while offered < 50_000 && offered - done < 1024 {
            match lanes.admit(1, offered, now) {
                Admission::Start(_) => under_way += 1,
                Admission::Queued => {}
                Admission::Defer(_) => panic!("deferred after {done}"),
            }
            offered += 1;
        }
        now += ms(5);
        for _ in 0..std::mem::take(&mut under_way) {
            lanes.complete(1, Kind::First, Sign::Answer, now);
            done += 1;
        }
        while lanes.next(1).is_some() {
            under_way += 1;
        }
        assert!(lanes.inspect(now).is_empty(), "deferred after {done}");
    }
    assert!(lanes.is_idle());
}

#[test]
fn an_endpoint_that_drains_too_slowly_for_its_backlog_does_not_hold_the_log_up() {
    let start = Instant::now();
    let mut lanes = Lanes::new(LIMITS);
    offer(&mut lanes, 1, 1024, start);
    let mut deferred = 0;
    for tick in 1..=12 {
        for _ in 0..32 {
            lanes.complete(1, Kind::First, Sign::Answer, start + ms(tick * 100));
            lanes.next(1);
        }
        deferred += lanes.inspect(start + ms(tick * 100)).len();
    }
    assert!(deferred > 600, "{deferred}");
}

#[test]
fn a_hundred_hanging_endpoints_leave_half_of_the_limit_to_the_others() {
    let start = Instant::now();
    let mut lanes = Lanes::new(LIMITS);
    let started: usize = (1..=100).map(|endpoint| offer(&mut lanes, endpoint, 32, start).0).sum();
    assert!(started <= 600, "{started}");
    // A newcomer shows that it is healthy with its first request, and has all its slots from then on.
    assert_eq!(offer(&mut lanes, 1000, 40, start + ms(10)), (1, 39, 0));
    lanes.complete(1000, Kind::First, Sign::Answer, start + ms(12));
    assert_eq!(std::iter::from_fn(|| lanes.next(1000)).count(), 32);
}

#[test]
fn any_number_of_hanging_endpoints_leaves_a_quarter_of_the_limit_to_healthy_ones() {
    let start = Instant::now();
    let mut lanes = Lanes::new(LIMITS);
    offer(&mut lanes, 9999, 2, start);
    lanes.complete(9999, Kind::First, Sign::Answer, start);
    let started: usize = (1..=2000).map(|endpoint| offer(&mut lanes, endpoint, 32, start).0).sum();
    assert_eq!(started, 768);
    assert_eq!(offer(&mut lanes, 9999, 40, start).0, 31);
}

#[test]
fn an_endpoint_that_ran_into_the_timeout_gets_nothing_beyond_the_doubtful_half() {
    let start = Instant::now();
    let mut lanes = Lanes::new(LIMITS);
    offer(&mut lanes, 7777, 1, start);
    lanes.complete(7777, Kind::First, Sign::Silence, start);
    for endpoint in 1..=100 {
        offer(&mut lanes, endpoint, 32, start);
    }
    assert_eq!(offer(&mut lanes, 7777, 1, start).0, 0);
    assert_eq!(offer(&mut lanes, 8888, 1, start).0, 1);
}

#[test]
fn hanging_endpoints_that_congested_get_nothing_beyond_their_half() {
    let start = Instant::now();
    let mut lanes = Lanes::new(LIMITS);
    for endpoint in 1..=600 {
        offer(&mut lanes, endpoint, 32, start);
    }
    lanes.inspect(start + ms(300));
    assert!(lanes.doubtful >= 512);
    let started: usize = (1..=600).map(|endpoint| offer(&mut lanes, endpoint, 5, start + ms(310)).0).sum();
    assert_eq!(started, 0);
}

#[test]
fn retries_take_at_most_half_of_the_slots() {
    let mut lanes = Lanes::<u32>::new(LIMITS);
    let admitted = (0..32).filter(|_| lanes.admit_retry(1)).count();
    assert_eq!(admitted, 16);
    assert_eq!(offer(&mut lanes, 1, 20, Instant::now()).0, 16);
}

#[test]
fn a_lane_says_when_it_has_room_for_retries_again() {
    let now = Instant::now();
    let mut lanes = Lanes::<u32>::new(LIMITS);
    while lanes.admit_retry(1) {}
    assert_eq!(lanes.retry_rooms(), (vec![(1, 0)], 16));
    assert!(lanes.complete(1, Kind::Retry, Sign::Silence, now));
    assert!(!lanes.complete(1, Kind::Retry, Sign::Silence, now));
}

#[test]
fn a_lane_without_work_is_forgotten() {
    let now = Instant::now();
    let mut lanes = Lanes::new(LIMITS);
    offer(&mut lanes, 1, 1, now);
    lanes.complete(1, Kind::First, Sign::Answer, now);
    assert!(lanes.is_idle());
    assert_eq!((lanes.in_flight, lanes.doubtful), (0, 0));
}

#[test]
fn time_without_a_database_does_not_count_as_waiting() {
    let start = Instant::now();
    let mut lanes = Lanes::new(LIMITS);
    offer(&mut lanes, 1, 100, start);
    lanes.forgive(start + ms(5000));
    assert!(lanes.inspect(start + ms(5010)).is_empty());
}
