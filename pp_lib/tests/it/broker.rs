//! The broker suite on every adapter.

use std::sync::Arc;

use pp_conformance::broker::Harness;
use pp_conformance::broker_suite;
use pp_lib::broker::memory::Memory;
use pp_lib::broker::{AnyBroker, Queue};

struct Embedded(Memory);

impl Harness for Embedded {
    async fn start() -> Self {
        Self(Memory::default())
    }

    fn broker(&self) -> AnyBroker {
        Arc::new(self.0.clone())
    }

    async fn stop(self) {}
}

mod embedded {
    use super::*;

    broker_suite!(Embedded);
}

mod on_servers {
    use super::*;
    use crate::foreign::QueuesOfOneTest;

    broker_suite!(OnRabbitMq);

    struct OnRabbitMq(QueuesOfOneTest, AnyBroker);

    impl Harness for OnRabbitMq {
        async fn start() -> Self {
            let queues = QueuesOfOneTest::new().await;
            let broker = Arc::new(queues.broker().await);
            Self(queues, broker)
        }

        fn broker(&self) -> AnyBroker {
            self.1.clone()
        }

        async fn stop(self) {
            for (queue, _) in self.1.dead_letter_queues() {
                if let Queue::NamedDeadLetter(name) = queue {
                    self.0.delete_queue(&name).await;
                }
            }
            self.0.delete().await;
        }
    }
}
