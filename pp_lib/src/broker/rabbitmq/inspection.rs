//! A look at the server and its queues for operators. It declares nothing.

use tokio::time::timeout;

use super::super::{FoundQueue, Inspection, Queue, Result};
use super::connection::{Purpose, Server};
use super::topology;

impl Server {
    /// Looks at queues over a connection of its own.
    pub(super) async fn inspect(&self, queues: &[Queue]) -> Result<Inspection> {
        let link = self.open(Purpose::Publish).await?;
        let mut found = Vec::with_capacity(queues.len());
        for queue in queues {
            let name = self.names.get(queue);
            let look = async {
                // A missing queue ends its channel.
                let channel = link.connection.create_channel().await?;
                topology::state(&channel, &name).await
            };
            let state = timeout(self.config.answer_timeout, look)
                .await
                .map_err(|_| self.no_answer("about a queue"))?
                .map_err(|error| self.lost(&error))?;
            if state.is_some() {
                self.uses(queue);
            }
            found.push(FoundQueue { name, state });
        }
        Ok(Inspection {
            version: link.version.clone(),
            queues: found,
        })
    }
}
