//! Dead letters keep what their message was, and are sent again as that message.

use bytes::Bytes;
use pp_lib::broker::queues::NamesOfKind;
use pp_lib::broker::{AnyBroker, DeadLetter, Delivery, Outgoing, Prefetch, Properties, Published, Queue, Resent};
use pp_lib::domain::{DemandedRow, KindName, Run};
use pp_lib::runtime::new_message_id;

use super::{assert_numbers, body, demand, message_id, receive, tags, until_ready};

/// Whatever the message was, it arrives; only a reason without end is cut.
pub async fn dead_letters_keep_their_bytes_and_reason(broker: AnyBroker) {
    let letter = |body: &'static [u8], reason: &str| DeadLetter {
        kind: KindName::default(),
        message_id: new_message_id(),
        properties: Properties::default(),
        body: Bytes::from_static(body),
        reason: reason.to_owned(),
    };
    let endless = "é".repeat(5_000);
    let letters = [
        letter(b"\xff\xfe\x00 no text", "no UTF-8"),
        letter(b"", "empty"),
        letter(b"{}", &endless),
    ];
    broker.dead_letter(&letters).await.unwrap();
    until_ready(&*broker, &Queue::sums(), 0).await;
    let mut subscription = broker
        .subscribe(&Queue::DeadLetter, Prefetch::messages(10))
        .await
        .unwrap();
    let received = receive(&mut *subscription, 3).await;
    for (received, sent) in received.iter().zip(&letters) {
        assert_eq!(received.body, sent.body);
        assert_eq!(
            received.properties.message_id.as_deref(),
            Some(sent.message_id.as_str())
        );
        let reason = received.properties.reason.clone().unwrap();
        assert!(sent.reason.starts_with(&reason) && !reason.is_empty());
        assert!(reason == sent.reason || reason.len() > DeadLetter::MAX_REASON_LENGTH - 4);
        assert!(reason.len() <= DeadLetter::MAX_REASON_LENGTH);
    }
}

/// Row, promised code and identity are there again.
pub async fn a_dead_letter_that_is_sent_again_is_the_same_message(broker: AnyBroker) {
    let row = DemandedRow {
        work_code: "api-0123456789".parse().unwrap(),
        run: Run {
            generation: 3,
            attempt: 5,
        },
        failures: 2,
        lost_leases: 1,
    };
    let with_row = Outgoing {
        row: Some(row),
        ..demand(1)
    };
    let with_code = Outgoing {
        new_work_code: Some("consumer-0123456789".parse().unwrap()),
        ..demand(2)
    };
    broker
        .publish(KindName::add_up_to(), &[with_row, with_code])
        .await
        .unwrap();
    let mut demands = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
    let first = receive(&mut *demands, 2).await;
    let letters = first.iter().map(|delivery| DeadLetter {
        kind: KindName::default(),
        message_id: delivery.properties.message_id.clone().unwrap().try_into().unwrap(),
        properties: delivery.properties.clone(),
        body: delivery.body.clone(),
        reason: "a test".to_owned(),
    });
    broker.dead_letter(&letters.collect::<Vec<_>>()).await.unwrap();
    demands.acknowledge(&[1, 2]).await.unwrap();
    let mut letters = broker
        .subscribe(&Queue::DeadLetter, Prefetch::messages(10))
        .await
        .unwrap();
    let letters = receive(&mut *letters, 2).await;
    broker
        .resend(KindName::add_up_to(), &letters.iter().map(resent).collect::<Vec<_>>())
        .await
        .unwrap();
    let again = receive(&mut *demands, 2).await;
    for (again, first) in again.iter().zip(&first) {
        assert_eq!((&again.properties, &again.body), (&first.properties, &first.body));
        assert_eq!(again.delivery_count, 0);
    }
}

/// Letters of programs that kept no properties.
pub async fn a_dead_letter_without_properties_is_sent_again_as_a_demand(broker: AnyBroker) {
    let old = Resent {
        message_id: message_id(7),
        properties: None,
        body: body(7),
    };
    assert_eq!(
        broker.resend(KindName::add_up_to(), &[old]).await.unwrap(),
        [Published::Confirmed]
    );
    let mut subscription = broker.subscribe(&Queue::sums(), Prefetch::messages(10)).await.unwrap();
    let received = receive(&mut *subscription, 1).await;
    assert_numbers(&received, 7..8);
    assert_eq!(received[0].properties.malformed, None);
}

/// Kinds may share a queue, others have the common one, and a name is taken back.
pub async fn dead_letters_go_to_the_queue_that_their_kind_has(broker: AnyBroker) {
    let [mail, sms, report] = ["mail", "sms", "report"].map(|name| name.parse::<KindName>().unwrap());
    let name = format!("user.{}.deadletter", new_message_id().as_str());
    let given = |kind| NamesOfKind {
        kind,
        demands: None,
        dead_letters: Some(name.as_str()),
    };
    let letter = |kind: &KindName, number: usize| DeadLetter {
        kind: kind.clone(),
        message_id: message_id(number),
        properties: Properties::default(),
        body: body(number),
        reason: "a test".to_owned(),
    };
    let named = Queue::NamedDeadLetter(name.clone());
    let common = (Queue::DeadLetter, KindName::default());
    assert_eq!(broker.dead_letter_queues(), std::slice::from_ref(&common));
    assert_eq!(broker.name_queues(&[given(&mail), given(&sms)]), [""; 0]);
    assert_eq!(
        broker.dead_letter_queues(),
        [common.clone(), (named.clone(), mail.clone())]
    );

    let letters = [letter(&mail, 0), letter(&report, 1), letter(&sms, 2), letter(&mail, 3)];
    broker.dead_letter(&letters).await.unwrap();
    let received = async |queue: &Queue, count| {
        let mut subscription = broker.subscribe(queue, Prefetch::messages(10)).await.unwrap();
        let received = receive(&mut *subscription, count).await;
        subscription.acknowledge(&tags(&received)).await.unwrap();
        received
    };
    let own = received(&named, 3).await;
    assert_numbers(&own, [0, 2, 3]);
    let kinds: Vec<_> = own.iter().map(|letter| letter.properties.kind.as_deref()).collect();
    assert_eq!(kinds, [Some("mail"), Some("sms"), Some("mail")]);
    assert_numbers(&received(&Queue::DeadLetter, 1).await, [1]);

    assert_eq!(broker.name_queues(&[given(&sms)]), [""; 0]);
    assert_eq!(broker.dead_letter_queues(), [common, (named.clone(), sms.clone())]);
    broker.dead_letter(&[letter(&mail, 4), letter(&sms, 5)]).await.unwrap();
    assert_numbers(&received(&Queue::DeadLetter, 1).await, [4]);
    assert_numbers(&received(&named, 1).await, [5]);
}

fn resent(letter: &Delivery) -> Resent {
    Resent {
        message_id: letter.properties.message_id.clone().unwrap().try_into().unwrap(),
        properties: letter.properties.kept.whole().cloned(),
        body: letter.body.clone(),
    }
}
