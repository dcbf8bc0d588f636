//! The kinds that a process has handlers for.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use schemars::{JsonSchema, schema_for};

use super::context::json_of;
use super::kind::{BlockingState, name_of};
use super::{BlockingKind, Context, Declaration, Delivery, Failure, Kind, Policy};
use crate::domain::{Json, KindName};

/// A run under way; dropping it cancels it.
pub type Handling = Pin<Box<dyn Future<Output = Result<Json, Failure>> + Send>>;

/// The code of a kind whose name and form are known at run time. For all others, see [`Kind`].
pub trait Handler: Send + Sync + 'static {
    /// Begins a run with these arguments. A panic inside counts as a failure that is tried again.
    fn handle(&self, args: Json, context: Context) -> Handling;

    /// See [`Kind::IS_PURE`].
    fn is_pure(&self) -> bool {
        false
    }
}

/// A kind, and the code that does its works.
#[derive(Clone)]
pub struct HandledKind {
    /// The kind.
    pub name: KindName,
    /// What it declares.
    pub declaration: Declaration,
    /// The code.
    pub handler: Arc<dyn Handler>,
}

/// The kinds that a process has handlers for.
#[derive(Clone, Default)]
pub struct Kinds(Vec<HandledKind>);

/// The handler of a [`Kind`].
struct Typed<K: Kind> {
    state: Arc<K::State>,
    kind: PhantomData<fn(K)>,
}

impl<K: Kind> Handler for Typed<K> {
    fn handle(&self, args: Json, context: Context) -> Handling {
        let state = self.state.clone();
        Box::pin(async move {
            // An older worker may meet newer arguments while a deployment is under way, so they are tried again.
            let kind: K = args
                .read()
                .map_err(|error| Failure::retry(format_args!("the arguments are not of the kind: {error}")))?;
            let output = kind.run(&state, &context).await?;
            json_of(&output).map_err(|why| Failure::permanent(format_args!("the result cannot be kept: {why}")))
        })
    }

    fn is_pure(&self) -> bool {
        K::IS_PURE
    }
}

impl Kinds {
    /// No kinds.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this kind. A kind of the same name is replaced.
    #[must_use]
    pub fn with<K: Kind>(self, state: K::State) -> Self {
        self.with_policy::<K>(K::POLICY, state)
    }

    /// With this kind under another policy than [`Kind::POLICY`].
    #[must_use]
    pub fn with_policy<K: Kind>(self, policy: Policy, state: K::State) -> Self {
        self.with_handler(HandledKind {
            name: name_of::<K>(),
            declaration: Declaration {
                policy,
                delivery: Delivery::Queue,
                push_url: None,
                args_schema: Some(schema::<K>()),
                result_schema: Some(schema::<K::Output>()),
            },
            handler: Arc::new(Typed::<K> {
                state: Arc::new(state),
                kind: PhantomData,
            }),
        })
    }

    /// With this kind, whose code blocks. It takes no more works at once than it has threads.
    #[must_use]
    pub fn with_blocking<K: BlockingKind>(self, state: K::State) -> Self {
        let threads = K::threads();
        let mut policy = <K as BlockingKind>::POLICY;
        policy.places = policy.places.min(u16::try_from(threads).unwrap_or(u16::MAX)).max(1);
        self.with_policy::<K>(policy, BlockingState::new(state, threads))
    }

    /// With this kind. A kind of the same name is replaced.
    #[must_use]
    pub fn with_handler(mut self, kind: HandledKind) -> Self {
        self = self.without(&kind.name);
        self.0.push(kind);
        self
    }

    /// Without the kind of this name.
    #[must_use]
    pub fn without(mut self, name: &KindName) -> Self {
        self.0.retain(|kind| kind.name != *name);
        self
    }

    /// The kinds.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &HandledKind> {
        self.0.iter()
    }

    /// The kind of this name.
    pub fn get(&self, name: &KindName) -> Option<&HandledKind> {
        self.0.iter().find(|kind| kind.name == *name)
    }
}

impl IntoIterator for Kinds {
    type Item = HandledKind;
    type IntoIter = std::vec::IntoIter<HandledKind>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

fn schema<T: JsonSchema>() -> Json {
    Json::accepted(schema_for!(T).as_value().to_string())
}
