//! How fast PP is and what it costs, each figure next to the limit that the same machine sets in the same run.
//!
//! [`FIGURES`] is the table of contents: a file for each figure or family, which starts what it needs on private servers,
//! measures, and says in [`Line`]s what came of it. `limits` measures what the servers do without PP. Nothing is judged here
//! but whether results are exact; a figure that cannot be measured is an error.

mod backlog;
mod clients;
mod demand;
mod drain;
mod embedded;
mod fill;
mod finishes;
mod get;
mod growth;
mod http;
mod isolation;
mod keys;
mod kinds;
pub mod letters;
mod limits;
mod line;
mod live;
mod load;
mod machine;
mod peers;
mod plan;
mod post;
mod pull;
mod queue;
mod report;
mod search;
mod single;
mod stand;
mod statistics;
mod sustained;
mod usage;
mod watcher;
mod wrk;

pub use line::{Goal, Limit, Line};
pub use machine::Conditions;
pub use plan::{Options, Plan};
pub use report::Report;
pub use stand::Stand;
pub use statistics::{Samples, Spread};

use anyhow::Result;

/// What is measured together.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// How it is asked for.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// When it is measured without being asked for.
    pub part: Part,
    measure: fn(&Stand, &Plan) -> Result<Vec<Line>>,
}

/// When a figure is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// In each run.
    Main,
    /// When growth is asked for, or its name.
    Growth,
    /// When its name is asked for.
    Named,
}

impl Figure {
    const fn new(
        part: Part,
        name: &'static str,
        about: &'static str,
        measure: fn(&Stand, &Plan) -> Result<Vec<Line>>,
    ) -> Self {
        Self {
            name,
            about,
            part,
            measure,
        }
    }

    /// Measures it.
    ///
    /// # Errors
    /// When it cannot be measured, or when what came of it is not exact.
    pub fn measure(&self, stand: &Stand, plan: &Plan) -> Result<Vec<Line>> {
        (self.measure)(stand, plan)
    }

    /// Those that are asked for by name; without a name those of each run, and with growth that one too.
    pub fn wanted(names: &[String], growth: bool) -> impl Iterator<Item = &'static Self> {
        FIGURES.iter().filter(move |figure| {
            let asked = names.iter().any(|name| name == figure.name);
            asked
                || match figure.part {
                    Part::Main => names.is_empty() && !growth,
                    Part::Growth => growth,
                    Part::Named => false,
                }
        })
    }
}

/// All figures, in the order of the table.
pub const FIGURES: [Figure; 17] = [
    Figure::new(
        Part::Main,
        "drain",
        "demands that wait in the queue, worked off by one consumer",
        drain::measure,
    ),
    Figure::new(
        Part::Main,
        "kinds",
        "queues of kinds with an effect, worked off by one worker: one kind, and 20 at once",
        kinds::measure,
    ),
    Figure::new(
        Part::Main,
        "kinds_isolation",
        "one work of a kind while another kind floods its queue or hangs",
        isolation::measure,
    ),
    Figure::new(
        Part::Main,
        "single",
        "one work at a time, from its message or POST until it is done",
        single::measure,
    ),
    Figure::new(
        Part::Main,
        "sustained",
        "producer, RabbitMQ, consumer and PostgreSQL at once, without a growing backlog",
        sustained::measure,
    ),
    Figure::new(
        Part::Main,
        "post",
        "POST /work, answered after the commit",
        post::measure,
    ),
    Figure::new(
        Part::Main,
        "demand",
        "POST /work/demand, answered after the broker's confirmation",
        demand::measure,
    ),
    Figure::new(
        Part::Main,
        "get",
        "GET /work/{id} from Redis, from the near cache and from the database",
        get::measure,
    ),
    Figure::new(
        Part::Main,
        "keys",
        "GET /work/{id} and POST /work with API keys and without, in turns",
        keys::measure,
    ),
    Figure::new(
        Part::Main,
        "pull",
        "workers over HTTP, and the services without a broker",
        pull::measure,
    ),
    Figure::new(
        Part::Main,
        "live",
        "from a commit to its event in a client of the live stream",
        live::measure,
    ),
    Figure::new(
        Part::Main,
        "clients",
        "what idle clients of the live stream cost",
        clients::measure,
    ),
    Figure::new(
        Part::Main,
        "search",
        "search by prefix as the table grows",
        search::measure,
    ),
    Figure::new(
        Part::Main,
        "backlog",
        "the consumer's memory while its backlog grows",
        backlog::measure,
    ),
    Figure::new(
        Part::Main,
        "embedded",
        "the standalone program: start, memory, POST /work",
        embedded::measure,
    ),
    Figure::new(
        Part::Growth,
        "growth",
        "the key figures on large tables, and with several consumers",
        growth::measure,
    ),
    Figure::new(
        Part::Named,
        "peers",
        "PP and other job queues on PostgreSQL alone, in turns; installs them with npm",
        peers::measure,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn names(asked: &[&str], growth: bool) -> Vec<&'static str> {
        let asked: Vec<String> = asked.iter().map(|name| (*name).to_owned()).collect();
        Figure::wanted(&asked, growth).map(|figure| figure.name).collect()
    }

    #[test]
    fn without_a_name_the_main_figures_are_measured() {
        let main = names(&[], false);
        assert!(main.contains(&"drain") && main.contains(&"embedded"), "{main:?}");
        assert!(!main.contains(&"growth") && !main.contains(&"peers"), "{main:?}");
    }

    #[test]
    fn what_is_asked_for_is_measured_in_the_order_of_the_table() {
        assert_eq!(names(&["post", "drain"], false), ["drain", "post"]);
        assert_eq!(names(&[], true), ["growth"]);
        assert_eq!(names(&["post"], true), ["post", "growth"]);
        assert_eq!(names(&["peers"], false), ["peers"]);
    }

    #[test]
    fn names_are_different() {
        let mut names = FIGURES.map(|figure| figure.name);
        names.sort_unstable();
        assert!(names.windows(2).all(|two| two[0] != two[1]));
    }
}
