//! Whose fault a receiver's silence is: the receiver's own, or that of our way out. Each failure is judged at once, by
//! what the other receivers of this process did meanwhile. Pure: the caller says what time it is.

use std::net::IpAddr;
use std::time::Instant;

/// So many places that fell silent, with no answer from anybody since the first of them, are our fault.
const MIN_SILENT_PLACES: usize = 3;

/// Whose fault it is that a request was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This machine, its network or its name servers.
    Ours,
    /// The receiver, or its name.
    Theirs,
}

/// Where a receiver is: a network of addresses that fail together, or a name where no address is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    V4([u8; 3]),
    V6([u8; 6]),
    Name(String),
}

impl Place {
    /// The place of an address: its /24 or /48.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f])
            }
        }
    }
}

/// The latest answers and silences of a process.
#[derive(Debug, Default)]
pub struct Blame {
    /// The latest answer, and the latest of another place.
    answers: [Option<(Place, Instant)>; 2],
    /// The places that fell silent since, as many as decide.
    silent: Vec<Place>,
}

impl Blame {
    /// Something came from `place`: an answer, or a refusal.
    pub fn answered(&mut self, place: Place, now: Instant) {
        self.silent.clear();
        match &mut self.answers[0] {
            Some((latest, at)) if *latest == place => *at = now,
            latest => {
                let former = latest.replace((place, now));
                self.answers[1] = former;
            }
        }
    }

    /// Nothing came from `place` for a request that began at `began`; returns whose fault that is.
    pub fn silent(&mut self, place: Place, began: Instant) -> Fault {
        let is_known = self.silent.contains(&place);
        let others = self.answers.iter().flatten().find(|(answered, _)| *answered != place);
        if !is_known && self.silent.len() < MIN_SILENT_PLACES {
            self.silent.push(place.clone());
        }
        match others {
            Some((_, at)) if *at >= began => Fault::Theirs,
            _ if self.silent.len() >= MIN_SILENT_PLACES => Fault::Ours,
            _ => Fault::Theirs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn place(number: u8) -> Place {
        Place::of([127, 0, number, 1].into())
    }

    #[test]
    fn one_silent_receiver_is_at_fault_itself_however_often_it_is_silent() {
        let (mut blame, began) = (Blame::default(), Instant::now());
        for host in 0..100 {
            assert_eq!(blame.silent(Place::of([10, 0, 0, host].into()), began), Fault::Theirs);
        }
    }

    #[test]
    fn where_three_places_fall_silent_and_nobody_answers_it_is_our_fault() {
        let (mut blame, began) = (Blame::default(), Instant::now());
        blame.answered(place(9), began);
        let began = began + Duration::from_secs(1);
        let verdicts = [1, 2, 3, 1, 9].map(|number| blame.silent(place(number), began));
        assert_eq!(verdicts, [Fault::Theirs, Fault::Theirs, Fault::Ours, Fault::Ours, Fault::Ours]);
    }

    #[test]
    fn who_is_silent_while_another_place_answers_is_at_fault() {
        let (mut blame, began) = (Blame::default(), Instant::now());
        (1..=3).for_each(|number| _ = blame.silent(place(number), began));
        blame.answered(place(9), began + Duration::from_secs(1));
        for number in 1..=8 {
            assert_eq!(blame.silent(place(number), began), Fault::Theirs);
        }
        assert_eq!(blame.silent(place(1), began + Duration::from_secs(2)), Fault::Ours, "nobody answered since");
    }

    #[test]
    fn an_answer_of_a_place_does_not_speak_against_itself() {
        let (mut blame, began) = (Blame::default(), Instant::now());
        (1..=2).for_each(|number| _ = blame.silent(place(number), began));
        let later = began + Duration::from_secs(1);
        blame.answered(place(4), later);
        blame.answered(place(5), later);
        blame.answered(place(5), later);
        (1..=3).for_each(|number| _ = blame.silent(place(number), later + Duration::from_secs(1)));
        assert_eq!(blame.silent(place(5), later), Fault::Theirs, "the fourth answered, too");
        assert_eq!(blame.silent(place(5), later + Duration::from_secs(1)), Fault::Ours);
    }

    #[test]
    fn a_name_without_an_address_is_a_place_and_a_network_is_one() {
        assert_eq!(Place::of("2001:db8:1::1".parse().unwrap()), Place::of("2001:db8:1:2::2".parse().unwrap()));
        assert_eq!(Place::of("::ffff:127.0.1.9".parse().unwrap()), place(1));
        assert_ne!(Place::Name("a.test".into()), Place::Name("b.test".into()));
    }
}
