//! Who sends a request, and whether they may. Runs after routing, so no spelling of a path gets around it.

use std::sync::Arc;

use actix_web::body::{BoxBody, EitherBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, COOKIE, HeaderMap, ORIGIN};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, ResponseError as _, web};
use pp_lib::access::{ApiKey, KeyRing};
use pp_lib::domain::{KeyInfo, KindName, Principal, Scope, Scopes, UserName};
use pp_lib::serving::BoundedKey;

use crate::Api;
use crate::error::ApiError;
use crate::proxy::NoUser;
use crate::rates::{Left, Sender, TooMany};
use crate::routes::{Entry, Route};

/// The cookie of a browser that has signed in.
pub(crate) const COOKIE_NAME: &str = "pp_key";

/// When keys are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// Never. A key that is given still names its holder.
    Never,
    /// As soon as the store has a valid key.
    OnceThereAreKeys,
    /// Always.
    Always,
}

/// What a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing, and the request does not count for the rate of its sender.
    Probe,
    /// Nothing.
    Nothing,
    /// The scope `read`.
    Read,
    /// The scope `create`, of the kind that the request names.
    Create,
    /// The scope `work`, of the kinds that the request is about.
    Work,
    /// The scope `operate`.
    Operate,
    /// The scope `admin`.
    Admin,
}

impl Needs {
    /// The scope, of any kind. `None` if nothing is needed.
    pub(crate) fn scope(self) -> Option<Scope> {
        match self {
            Self::Probe | Self::Nothing => None,
            Self::Read => Some(Scope::Read),
            Self::Create => Some(Scope::Create(None)),
            Self::Work => Some(Scope::Work(None)),
            Self::Operate => Some(Scope::Operate),
            Self::Admin => Some(Scope::Admin),
        }
    }

    fn allowed_by(self, scopes: &Scopes) -> bool {
        match self {
            // The kinds are in the body; see [`Caller::may_create`] and [`Caller::may_work`].
            Self::Create => scopes.allow_some_creation(),
            Self::Work => scopes.allow_some_work(),
            needs => needs.scope().is_none_or(|scope| scopes.allow(&scope)),
        }
    }
}

/// Who sends a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    /// What the caller holds; `None` where nothing is asked for.
    holds: Option<Holds>,
}

/// What lets a caller in.
#[derive(Clone, Debug)]
enum Holds {
    Key(Arc<KeyInfo>),
    /// The word of a proxy, which stands for these scopes.
    Word(Arc<Scopes>),
}

impl Holds {
    fn allow(&self, needed: &Scope) -> bool {
        self.scopes().allow(needed)
    }

    fn scopes(&self) -> &Scopes {
        match self {
            Self::Key(key) => &key.scopes,
            Self::Word(scopes) => scopes,
        }
    }

    /// The error for a caller without this scope.
    fn lack(&self, needed: &Scope) -> ApiError {
        let detail = match self {
            Self::Key(_) => format!("this API key lacks the scope {needed}"),
            Self::Word(_) => format!("users of the proxy lack the scope {needed}"),
        };
        ApiError::new(StatusCode::FORBIDDEN, detail).code("missing_scope")
    }
}

impl Caller {
    /// The caller of a request that was let in.
    pub(crate) fn of(request: &HttpRequest) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_default()
    }

    fn with_key(key: Arc<KeyInfo>) -> Self {
        let principal = Principal::Key {
            id: key.id,
            name: key.name.clone(),
        };
        Self {
            principal,
            holds: Some(Holds::Key(key)),
        }
    }

    fn with_word(user: UserName, scopes: Arc<Scopes>) -> Self {
        Self {
            principal: Principal::Proxy(user),
            holds: Some(Holds::Word(scopes)),
        }
    }

    /// The key, if it has a bound of works in a day.
    pub(crate) fn bounded_key(&self) -> Option<BoundedKey> {
        let Some(Holds::Key(key)) = &self.holds else {
            return None;
        };
        key.works_per_day.map(|most| BoundedKey { id: key.id, most })
    }

    /// Fails unless works of this kind may be created.
    pub(crate) fn may_create(&self, kind: &KindName) -> Result<(), ApiError> {
        self.may(&Scope::Create(Some(kind.clone())))
    }

    /// Fails unless works of this kind may be claimed and ended.
    pub(crate) fn may_work(&self, kind: &KindName) -> Result<(), ApiError> {
        self.may(&Scope::Work(Some(kind.clone())))
    }

    /// Fails unless everything may be done.
    pub(crate) fn may_administer(&self) -> Result<(), ApiError> {
        self.may(&Scope::Admin)
    }

    fn may(&self, needed: &Scope) -> Result<(), ApiError> {
        match &self.holds {
            Some(holds) if !holds.allow(needed) => Err(holds.lack(needed)),
            _ => Ok(()),
        }
    }
}

/// Middleware of a resource: lets a request in if its caller may use the route of its method.
pub(crate) async fn authorize(
    entries: &'static [&'static Entry],
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<EitherBody<BoxBody>>, Error> {
    Route::found(&request, entries);
    // A method without a route is answered with 405, to everybody.
    let needs = entries
        .iter()
        .find(|entry| entry.verb.is(request.method()))
        .map(|entry| entry.needs)
        .filter(|needs| *needs != Needs::Probe);
    if let Some(needs) = needs
        && let Some(api) = request.app_data::<web::Data<Api>>().cloned()
    {
        let shown = api.shown(&request, needs).await;
        let left = match api.count(&request, &shown) {
            Ok(left) => left,
            Err(too_many) => {
                let mut refused = too_many.error().error_response();
                too_many.tell(refused.headers_mut());
                return Ok(request.into_response(refused).map_into_right_body());
            }
        };
        let mut response = match api.caller(&request, needs, shown) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                next.call(request).await?.map_into_left_body()
            }
            Err(error) => request.into_response(error.error_response()).map_into_right_body(),
        };
        if let Some(left) = left {
            left.tell(response.headers_mut());
        }
        return Ok(response);
    }
    Ok(next.call(request).await?.map_into_left_body())
}

/// A key as a request gives it.
enum Given<'a> {
    Header(&'a str),
    Cookie(&'a str),
}

/// What a request shows of its sender.
enum Shown {
    /// No key, or the request needs none.
    Nothing,
    /// A text that is no valid key.
    WrongKey,
    /// A header of a proxy that names no user.
    WrongUser,
    /// The user whom a proxy has signed in, and what users may do.
    User(UserName, Arc<Scopes>),
    Key {
        key: Arc<KeyInfo>,
        in_cookie: bool,
    },
}

impl Api {
    /// Counts a request for the rate of its sender, if there is one. Wrong keys count for the peer.
    fn count(&self, request: &ServiceRequest, shown: &Shown) -> Result<Option<Left>, TooMany> {
        let Some(rates) = &self.rates else { return Ok(None) };
        let peer = || request.peer_addr().map(|peer| Sender::Peer(pp_http::peer(peer.ip())));
        let sender = match shown {
            Shown::Key { key, .. } => Some(Sender::Key(key.id)),
            Shown::User(user, _) => Some(Sender::User(user.clone())),
            Shown::Nothing | Shown::WrongKey | Shown::WrongUser => peer(),
        };
        sender.map(|sender| rates.count(sender)).transpose()
    }

    /// True if keys are asked for now.
    pub(crate) fn asks(&self) -> bool {
        match self.config.asking {
            Asking::Never => false,
            Asking::OnceThereAreKeys => self.keys.has_keys(),
            Asking::Always => true,
        }
    }

    /// A valid key counts before the header of a proxy, and that before a key that is not valid: the proxy may have used
    /// `Authorization` for itself.
    async fn shown(&self, request: &ServiceRequest, needs: Needs) -> Shown {
        if needs == Needs::Nothing {
            return Shown::Nothing;
        }
        let mut otherwise = Shown::Nothing;
        if let Some(given) = given(request.headers()) {
            let (text, in_cookie) = match given {
                Given::Header(text) => (text, false),
                Given::Cookie(text) => (text, true),
            };
            if let Some(key) = find(&self.keys, text).await {
                return Shown::Key { key, in_cookie };
            }
            otherwise = Shown::WrongKey;
        }
        let Some(proxies) = &self.config.proxies else {
            return otherwise;
        };
        match proxies.user(request.peer_addr(), request.headers()) {
            Ok(Some(user)) => Shown::User(user, Arc::clone(&proxies.scopes)),
            Ok(None) => otherwise,
            Err(NoUser) => Shown::WrongUser,
        }
    }

    /// The caller of a request, if it may use the route.
    fn caller(&self, request: &ServiceRequest, needs: Needs, shown: Shown) -> Result<Caller, ApiError> {
        let asked = self.asks() && needs != Needs::Nothing;
        let (mut caller, is_of_browser) = match shown {
            Shown::Key { key, in_cookie } => (Caller::with_key(key), in_cookie),
            Shown::User(user, scopes) => (Caller::with_word(user, scopes), true),
            Shown::WrongUser => {
                return Err(ApiError::bad_request(
                    "the header with the user must be there once, with 1 to 200 bytes of printable text",
                ));
            }
            _ if !asked => return Ok(Caller::default()),
            Shown::Nothing => {
                return Err(unauthorized("this needs an API key: send `Authorization: Bearer pp_…`"));
            }
            Shown::WrongKey => {
                let detail = "this API key is not valid: it is mistyped or was revoked";
                return Err(unauthorized(detail).code("invalid_key"));
            }
        };
        let safe = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
        );
        // A header `Origin` names this service by now; see `pp_http::known_host`.
        if is_of_browser && !safe && !request.headers().contains_key(ORIGIN) {
            let detail = "a change with the cookie of a browser, or by a user of the proxy, needs the header Origin";
            return Err(ApiError::new(StatusCode::FORBIDDEN, detail).code("other_origin"));
        }
        if !asked {
            // Nothing is refused where no key is asked for.
            caller.holds = None;
        }
        if let Some(holds) = caller.holds.as_ref().filter(|holds| !needs.allowed_by(holds.scopes())) {
            return Err(holds.lack(&needs.scope().unwrap_or(Scope::Admin)));
        }
        Ok(caller)
    }
}

/// The valid key that this text is.
pub(crate) async fn find(keys: &KeyRing, text: &str) -> Option<Arc<KeyInfo>> {
    let key: ApiKey = text.parse().ok()?;
    keys.find(&key).await
}

fn given(headers: &HeaderMap) -> Option<Given<'_>> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let text = value.to_str().unwrap_or_default();
        let key = match text.split_once(' ') {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
            _ => "",
        };
        return Some(Given::Header(key));
    }
    let pairs = headers.get_all(COOKIE).filter_map(|value| value.to_str().ok());
    let pairs = pairs
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .filter(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, value)| Given::Cookie(value))
        .next()
}

pub(crate) fn unauthorized(detail: &'static str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, detail)
}
