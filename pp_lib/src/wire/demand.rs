//! From the bytes of a message to a demand.

use crate::domain::{DemandError, WorkDemand};

/// Reads a message body; an error's text is short, whatever the message was.
pub fn decode_demand(body: &[u8]) -> Result<WorkDemand, DemandError> {
    // serde would take the array `[2]` for an object as well.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(DemandError::Malformed("an array, expected an object".to_owned()));
    }
    let demand: WorkDemand = serde_json::from_slice(body).map_err(|error| {
        let mut why = error.to_string();
        why.truncate(why.floor_char_boundary(200));
        DemandError::Malformed(why)
    })?;
    if demand.done {
        Err(DemandError::AlreadyDone)
    } else {
        Ok(demand)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_ignored_and_done_may_be_missing() {
        for body in [
            r#"{"add_up_to":2,"done":false}"#,
            r#"{"add_up_to":2}"#,
            r#" {"x":[1],"add_up_to":2} "#,
        ] {
            assert_eq!(decode_demand(body.as_bytes()).unwrap().add_up_to.get(), 2, "{body}");
        }
    }

    #[test]
    fn what_asks_for_nothing_is_named() {
        assert_eq!(
            decode_demand(br#"{"add_up_to":2,"done":true}"#),
            Err(DemandError::AlreadyDone)
        );
        let bad = [
            "",
            "{}",
            "null",
            "[2]",
            r#"{"add_up_to":0}"#,
            r#"{"add_up_to":2147483648}"#,
            r#"{"add_up_to":"2"}"#,
        ];
        for body in bad.iter().map(|body| body.as_bytes()).chain([b"\xff\xfe".as_slice()]) {
            assert!(
                matches!(decode_demand(body), Err(DemandError::Malformed(_))),
                "{body:?}"
            );
        }
        let long = format!(r#"{{"add_up_to":"{}"}}"#, "é".repeat(5_000_000));
        assert!(decode_demand(long.as_bytes()).unwrap_err().to_string().len() < 250);
    }
}
