//! What the built-in events look like: a description, the JSON Schema of their messages, and a realistic one, all from
//! `event_types.json`. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event_rules;

/// One built-in event.
#[derive(Deserialize)]
pub struct EventType {
    /// Its name.
    pub event: String,
    /// When it occurs, in a sentence.
    pub description: String,
    /// The JSON Schema of `data`.
    schema: Box<RawValue>,
    /// A realistic `data`.
    pub sample: Box<RawValue>,
}

/// All of them, in the order of the specification.
pub fn all() -> impl Iterator<Item = EventType> {
    let types: Vec<EventType> =
        serde_json::from_str(include_str!("event_types.json")).expect("the file is well formed: a test sees to it");
    types.into_iter()
}

impl EventType {
    /// The JSON Schema of the whole message.
    pub fn message_schema(&self) -> String {
        let Self { event, description, schema, .. } = self;
        let description = serde_json::Value::from(description.as_str());
        let data = match self.truncated_schema() {
            Some(truncated) => format!(r#"{{"anyOf":[{schema},{truncated}]}}"#),
            None => schema.to_string(),
        };
        format!(
            r#"{{"$schema":"https://json-schema.org/draft/2020-12/schema","title":"{event}","description":{description},"type":"object","properties":{{"event":{{"const":"{event}"}},"timestamp":{{"type":"string","format":"date-time","description":"When it happened: UTC, whole seconds"}},"webhook_id":{{"type":"string","pattern":"^wh_[0-9a-v]{{26}}$","description":"The id of this message, the same at every attempt: drop one that you have seen"}},"data":{data}}},"required":["event","timestamp","webhook_id","data"],"additionalProperties":false}}"#
        )
    }

    /// The JSON Schema of what goes in the place of a `data` that is too long; `None` where it never is.
    fn truncated_schema(&self) -> Option<String> {
        let rules = event_rules::KINDS.iter().flat_map(|kind| kind.events.iter().map(move |rule| (kind, rule)));
        let (kind, rule) = rules.into_iter().find(|(_, rule)| rule.name == self.event)?;
        let identity: String = kind
            .identity_of(rule)
            .map(|(key, _)| format!(r#""{key}":{{"type":["integer","string","null"]}},"#))
            .collect();
        let keys: String = kind.identity_of(rule).map(|(key, _)| format!(r#""{key}","#)).collect();
        Some(format!(
            r#"{{"type":"object","description":"In the place of data whose message would be longer than pg_webhooks.max_body: which row it is of, null where that is longer than 512 bytes","properties":{{{identity}"truncated":{{"const":true}}}},"required":[{keys}"truncated"],"additionalProperties":false}}"#
        ))
    }

    /// A realistic message.
    pub fn message_sample(&self) -> String {
        let Self { event, sample, .. } = self;
        format!(
            r#"{{"event":"{event}","timestamp":"2025-10-05T10:30:00Z","webhook_id":"wh_00000000n40000007shm2fnpb8","data":{sample}}}"#
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event_names, json};

    #[test]
    fn the_types_are_the_built_in_events() {
        let mut names: Vec<String> = all().map(|kind| kind.event).collect();
        let mut built_in: Vec<&str> = event_names::built_in().collect();
        names.sort_unstable();
        built_in.sort_unstable();
        assert_eq!(names, built_in);
    }

    #[test]
    fn a_sample_has_the_members_that_its_schema_names() {
        for kind in all() {
            let schema: serde_json::Value = serde_json::from_str(&kind.message_schema()).unwrap();
            let message: serde_json::Value = serde_json::from_str(&kind.message_sample()).unwrap();
            let data = &schema["properties"]["data"];
            let named = data.get("anyOf").map_or(data, |forms| &forms[0])["properties"].as_object().unwrap();
            let given = message["data"].as_object().unwrap();
            assert!(named.keys().eq(given.keys()), "{}", kind.event);
        }
    }

    #[test]
    fn a_sample_can_be_sent() {
        for kind in all() {
            assert!(json::push_json(&mut Vec::new(), kind.sample.get()).is_ok(), "{}", kind.event);
        }
    }
}
