//! Endpoints for which nothing is read for now: a person has changed them, or they have given back what was queued. What
//! they hold is reported first; then they begin anew, from a place that the database knows or where they had settled.

use std::sync::Arc;

use super::{News, Reader, Readers, Resume, Row, Stand};

impl Readers {
    /// Takes what is told of an endpoint; returns whether what is queued for it is to be dropped.
    pub fn take_news(&mut self, news: News, seen_before: u64) -> bool {
        let News { endpoint, is_active, moved, done } = news;
        let done = done.filter(|_| is_active).map(Arc::new);
        if !self.endpoints.contains_key(&endpoint) {
            let Some(done) = &done else { return false };
            self.endpoints.insert(endpoint, Reader::new(Stand::Behind, Arc::clone(done), self.next_number));
            self.apart.insert(endpoint);
        }
        let reader = self.endpoints.get_mut(&endpoint).expect("it was entered before");
        let known = match &reader.stand {
            Stand::Held(Some(Resume { row: Some(row), .. })) => Some(row.moved),
            _ => reader.row.as_ref().map(|row| row.moved),
        };
        if known.is_some_and(|known| known >= moved) {
            return false;
        }
        let resume = done.map(|done| Resume {
            row: Some(Row { moved, done: Arc::clone(&done) }),
            done,
            retaken_before: seen_before,
        });
        self.hold(endpoint, resume);
        true
    }

    /// Gives back what an endpoint has not started: it is to be read for it again later. What is queued is to be dropped.
    pub fn give_back(&mut self, endpoint: i32) {
        if let Some(reader) = self.endpoints.get(&endpoint)
            && !matches!(reader.stand, Stand::Held(_))
        {
            let done = self.settled(endpoint);
            let retaken_before = self.front.xmax().max(self.position(endpoint).xmax());
            self.hold(endpoint, Some(Resume { done, row: None, retaken_before }));
        }
    }

    fn hold(&mut self, endpoint: i32, resume: Option<Resume>) {
        self.near.remove(&endpoint);
        self.ahead.remove(&endpoint);
        self.apart.insert(endpoint);
        let reader = self.endpoints.get_mut(&endpoint).expect("it was entered before");
        reader.stand = Stand::Held(resume);
        self.go_on_if_idle(endpoint);
    }

    /// These deliveries were taken, and dropped from the queue before they were started.
    pub fn dropped(&mut self, endpoint: i32, deliveries: usize) {
        if let Some(reader) = self.endpoints.get_mut(&endpoint) {
            reader.held -= deliveries;
            self.go_on_if_idle(endpoint);
        }
    }

    /// A held endpoint whose results are all acknowledged begins anew.
    fn go_on_if_idle(&mut self, endpoint: i32) {
        let number = self.next_number;
        let Some(reader) = self.endpoints.get_mut(&endpoint).filter(|reader| reader.held == 0) else { return };
        let Stand::Held(resume) = &mut reader.stand else { return };
        match resume.take() {
            None => {
                self.endpoints.remove(&endpoint);
                self.apart.remove(&endpoint);
                self.retaken.remove(&endpoint);
            }
            Some(Resume { done, row, retaken_before }) => {
                let row = row.or(reader.row.take());
                *reader = Reader { row, ..Reader::new(Stand::Behind, done, number) };
                self.retaken.insert(endpoint, retaken_before);
            }
        }
    }
}
