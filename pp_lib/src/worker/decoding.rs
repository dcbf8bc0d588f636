//! Decodes deliveries into attempts and dead letters.

use crate::broker::{DeadLetter, Delivery, Kept, Properties};
use crate::domain::{DemandedRow, InvalidDemand, KindName, MessageId, Origin, Run, Unique, WorkCode, args_of_body};
use crate::runtime::{new_message_id, new_work_code};
use crate::worker::attempt::Attempt;

/// Decodes a delivery into the attempt that it demands, or into a dead letter if it cannot be computed. A message
/// without an id gets a new one, so each copy of it is a work of its own.
pub(super) fn decode(kind: &KindName, delivery: &Delivery, limit: usize) -> Result<Attempt, Box<DeadLetter>> {
    parse(kind, delivery, limit).map_err(|error| Box::new(dead_letter(kind, delivery, &error.to_string())))
}

/// Turns a delivery into a dead letter. Its message id lets it be redriven with its original properties.
pub(super) fn dead_letter(kind: &KindName, delivery: &Delivery, reason: &str) -> DeadLetter {
    let given = delivery.properties.message_id.clone();
    let reason = match delivery.properties.kept {
        Kept::TooLong(bytes) => format!("{reason} (its {bytes} bytes of properties are too many to be kept)"),
        Kept::Nothing | Kept::Whole(_) => reason.to_owned(),
    };
    DeadLetter {
        kind: kind.clone(),
        message_id: given
            .and_then(|id| MessageId::try_from(id).ok())
            .unwrap_or_else(new_message_id),
        properties: delivery.properties.clone(),
        body: delivery.body.clone(),
        reason,
    }
}

fn parse(kind: &KindName, delivery: &Delivery, limit: usize) -> Result<Attempt, InvalidDemand> {
    let properties = &delivery.properties;
    if let Some(name) = properties.malformed {
        return Err(InvalidDemand::BadProperty(name));
    }
    let args = args_of_body(kind, &delivery.body, limit);
    let message_id = match properties.message_id.as_ref().filter(|id| !id.is_empty()) {
        Some(id) => MessageId::try_from(id.clone()).map_err(|_| InvalidDemand::BadProperty("message_id"))?,
        None => new_message_id(),
    };
    let promised = promised_code(properties)?;
    let named: Option<WorkCode> = match &properties.work_code {
        Some(code) => Some(code.parse().map_err(|_| InvalidDemand::BadProperty("work_code"))?),
        None => None,
    };
    let (Some(work_code), Some(generation), Some(attempt)) = (&named, properties.generation, properties.attempt) else {
        // No part of PP names a code without the state of its row. The worker writes codes of its own origin only.
        let named = named.filter(|code| code.origin() == Origin::Consumer);
        let work_code = promised.or(named).unwrap_or_else(|| new_work_code(Origin::Consumer));
        let (unique, run_at) = (unique(properties)?, run_at(properties)?);
        return Ok(Attempt::at_new_work(message_id, args?, work_code).asking_for(unique, run_at));
    };
    let failures = properties.failures.unwrap_or(0);
    // Older dispatchers send no `lost_leases`: every attempt that did not fail had lost its lease.
    let lost_leases = properties
        .lost_leases
        .unwrap_or(attempt.saturating_sub(1).saturating_sub(failures));
    if generation < 1 || attempt < 1 || !(0..attempt).contains(&failures) || lost_leases < 0 {
        return Err(InvalidDemand::BadProperty(
            "generation, attempt, failures or lost_leases",
        ));
    }
    let row = DemandedRow {
        work_code: work_code.clone(),
        run: Run { generation, attempt },
        failures,
        lost_leases,
    };
    Ok(Attempt::at_row(message_id, args.ok(), row))
}

fn unique(properties: &Properties) -> Result<Option<Unique>, InvalidDemand> {
    let unique = properties.unique.clone().map(Unique::try_from).transpose();
    unique.map_err(|_| InvalidDemand::BadProperty("unique"))
}

fn run_at(properties: &Properties) -> Result<Option<i64>, InvalidDemand> {
    const THE_YEAR_10000: i64 = 253_402_300_800;
    match properties.run_at {
        Some(moment) if !(0..THE_YEAR_10000).contains(&moment) => Err(InvalidDemand::BadProperty("run_at")),
        moment => Ok(moment),
    }
}

/// The promised code of a work without a row. The consumer will write the row, so the code must be of consumer origin
/// and the only one.
fn promised_code(properties: &Properties) -> Result<Option<WorkCode>, InvalidDemand> {
    let Some(code) = &properties.new_work_code else {
        return Ok(None);
    };
    let code = code
        .parse()
        .ok()
        .filter(|code: &WorkCode| code.origin() == Origin::Consumer);
    match code {
        Some(code) if properties.work_code.is_none() => Ok(Some(code)),
        Some(_) => Err(InvalidDemand::BadProperty("new_work_code, beside work_code")),
        None => Err(InvalidDemand::BadProperty("new_work_code")),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::Json;
    use crate::store::Guard;

    fn decoded(delivery: &Delivery) -> Result<Attempt, Box<DeadLetter>> {
        decode(KindName::add_up_to(), delivery, Json::USUAL_LIMIT)
    }

    fn delivery(body: &str, properties: Properties) -> Delivery {
        Delivery {
            tag: 1,
            delivery_count: 0,
            properties,
            body: Bytes::from(body.to_owned()),
        }
    }

    #[test]
    fn each_delivery_without_a_message_id_gets_a_new_one() {
        let foreign = delivery(r#"{"add_up_to":2,"done":false}"#, Properties::default());
        let attempts = [decoded(&foreign).unwrap(), decoded(&foreign).unwrap()];
        assert!(attempts.iter().all(|attempt| attempt.guard == Guard::NoRow));
        assert_ne!(attempts[0].message_id, attempts[1].message_id);
    }

    #[test]
    fn a_demand_without_lost_leases_is_understood() {
        let properties = |lost_leases| Properties {
            work_code: Some("api-0123456789".to_owned()),
            generation: Some(1),
            attempt: Some(6),
            failures: Some(2),
            lost_leases,
            ..Properties::default()
        };
        for (said, understood) in [(None, 3), (Some(1), 1)] {
            let attempt = decoded(&delivery(r#"{"add_up_to":2}"#, properties(said))).unwrap();
            assert_eq!(attempt.lost_leases(), understood);
        }
    }

    #[test]
    fn a_new_work_gets_its_promised_code() {
        let properties = Properties {
            new_work_code: Some("consumer-0123456789".to_owned()),
            ..Properties::default()
        };
        let attempt = decoded(&delivery(r#"{"add_up_to":2}"#, properties)).unwrap();
        assert_eq!(
            (attempt.work_code.as_str(), attempt.guard),
            ("consumer-0123456789", Guard::NoRow)
        );
    }

    #[test]
    fn a_code_without_the_state_of_a_row_is_that_of_a_new_work() {
        for (named, kept) in [("consumer-0123456789", true), ("api-0123456789", false)] {
            let properties = Properties {
                work_code: Some(named.to_owned()),
                generation: Some(1),
                ..Properties::default()
            };
            let attempt = decoded(&delivery(r#"{"add_up_to":2}"#, properties)).unwrap();
            assert_eq!(
                (attempt.work_code.as_str() == named, attempt.guard),
                (kept, Guard::NoRow)
            );
            assert_eq!(attempt.work_code.origin(), Origin::Consumer);
        }
    }

    #[test]
    fn an_undecodable_message_is_a_dead_letter_with_its_reason() {
        let id = |id: &str| Properties {
            message_id: Some(id.to_owned()),
            ..Properties::default()
        };
        let code = Properties {
            work_code: Some("api-%".to_owned()),
            ..Properties::default()
        };
        let counters = |generation, attempt, failures| Properties {
            work_code: Some("api-0123456789".to_owned()),
            generation: Some(generation),
            attempt: Some(attempt),
            failures: Some(failures),
            ..Properties::default()
        };
        let lost = |lost_leases| Properties {
            lost_leases: Some(lost_leases),
            ..counters(1, 2, 0)
        };
        let promised = |new_work_code: &str| Properties {
            new_work_code: Some(new_work_code.to_owned()),
            ..Properties::default()
        };
        let unique = |unique: &str| Properties {
            unique: Some(unique.to_owned()),
            ..Properties::default()
        };
        let run_at = |run_at| Properties {
            run_at: Some(run_at),
            ..Properties::default()
        };
        let both = Properties {
            new_work_code: Some("consumer-0123456789".to_owned()),
            ..counters(1, 1, 0)
        };
        for (body, properties, reason) in [
            (r#"{"add_up_to":2}"#, promised("consumer-%"), "new_work_code"),
            (r#"{"add_up_to":2}"#, promised("api-0123456789"), "new_work_code"),
            (r#"{"add_up_to":2}"#, unique(""), "unique"),
            (r#"{"add_up_to":2}"#, unique("a\0b"), "unique"),
            (r#"{"add_up_to":2}"#, run_at(-1), "run_at"),
            (r#"{"add_up_to":2}"#, run_at(i64::MAX), "run_at"),
            (r#"{"add_up_to":2}"#, both, "new_work_code, beside work_code"),
            ("{", Properties::default(), "malformed demand"),
            (r#"{"add_up_to":2,"done":true}"#, Properties::default(), "done already"),
            (r#"{"add_up_to":2}"#, id(&"é".repeat(128)), "message_id"),
            (r#"{"add_up_to":2}"#, code, "work_code"),
            (r#"{"add_up_to":2}"#, counters(0, 1, 0), "generation"),
            (r#"{"add_up_to":2}"#, counters(1, -1, 0), "attempt"),
            (r#"{"add_up_to":2}"#, counters(1, 1, i32::MAX), "failures"),
            (r#"{"add_up_to":2}"#, lost(-1), "lost_leases"),
        ] {
            let letter = decoded(&delivery(body, properties)).unwrap_err();
            assert!(letter.reason.contains(reason), "{}", letter.reason);
            assert_eq!(letter.body, body);
        }
    }
}
