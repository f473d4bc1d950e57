//! `[[trigger.http]]`: routes, what answers them, and components that are written into their trigger.

use super::document::{Component as ComponentText, HttpTrigger, StaticResponse as StaticText, Triggers};
use super::reader::Reader;
use super::text_or::TextOr;
use super::{Component, ManifestError, Responder};
use crate::route::{Route, Routes};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use toml::Spanned;

/// Under this path Spin, and this host, answer themselves.
const RESERVED_PREFIX: &str = "/.well-known/spin/";

/// An answer that needs no component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: bytes::Bytes,
}

/// A trigger whose component, if it was written into the trigger, has a name.
pub(super) struct Trigger {
    route: Spanned<TextOr<super::document::PrivateRoute>>,
    responder: TriggerResponder,
}

enum TriggerResponder {
    Component(Spanned<String>),
    Static(Arc<StaticResponse>),
}

impl Reader<'_> {
    /// Moves inline components to `components`, under the names that Spin gives them.
    pub(super) fn triggers(
        &self,
        triggers: Triggers,
        components: &mut BTreeMap<String, Spanned<ComponentText>>,
    ) -> Result<Vec<Trigger>, ManifestError> {
        if let Some((kind, value)) = triggers.others.first() {
            let message = format!("triggers of type `{kind}` are not offered; this host answers `http`");
            return Err(self.error(value.span(), message));
        }
        let ids = trigger_ids(&triggers.http);
        let mut named = Vec::new();
        for (trigger, id) in triggers.http.into_iter().zip(ids) {
            named.push(self.trigger(trigger, &id, components)?);
        }
        Ok(named)
    }

    fn trigger(
        &self,
        trigger: Spanned<HttpTrigger>,
        id: &str,
        components: &mut BTreeMap<String, Spanned<ComponentText>>,
    ) -> Result<Trigger, ManifestError> {
        let span = trigger.span();
        let trigger = trigger.into_inner();
        for (name, value) in [("components", &trigger.components), ("dependencies", &trigger.dependencies)] {
            if let Some(value) = value {
                let message = format!("`{name}` of a trigger (middleware) is not offered");
                return Err(self.error(value.span(), message));
            }
        }
        if let Some(executor) = &trigger.executor
            && !matches!(executor.get_ref().kind.as_str(), "http" | "spin")
        {
            let kind = &executor.get_ref().kind;
            let message = format!("executor `{kind}` is not offered; components answer `wasi:http`");
            return Err(self.error(executor.span(), message));
        }
        let responder = match (trigger.component, trigger.static_response) {
            (Some(component), None) => TriggerResponder::Component(self.named(component, id, components)),
            (None, Some(response)) => TriggerResponder::Static(Arc::new(self.static_response(response)?)),
            (None, None) => {
                return Err(self.error(span, "the trigger has neither `component` nor `static_response`"));
            }
            (Some(component), Some(_)) => {
                let message = "the trigger has both `component` and `static_response`";
                return Err(self.error(component.span(), message));
            }
        };
        Ok(Trigger { route: trigger.route, responder })
    }

    fn named(
        &self,
        component: Spanned<TextOr<ComponentText>>,
        trigger_id: &str,
        components: &mut BTreeMap<String, Spanned<ComponentText>>,
    ) -> Spanned<String> {
        let span = component.span();
        let inline = match component.into_inner() {
            TextOr::Text(id) => return Spanned::new(span, id),
            TextOr::Table(inline) => inline,
        };
        let natural = format!("{trigger_id}-component");
        let id = match super::names::component_id_fault(&natural) {
            None if !components.contains_key(&natural) => natural,
            _ => unused("inline-component", |id| components.contains_key(id)),
        };
        components.insert(id.clone(), Spanned::new(span.clone(), inline));
        Spanned::new(span, id)
    }

    fn static_response(&self, response: Spanned<StaticText>) -> Result<StaticResponse, ManifestError> {
        let response = response.into_inner();
        let status = match response.status_code {
            None => StatusCode::OK,
            Some(code) => StatusCode::from_u16(*code.get_ref())
                .ok()
                .filter(|status| !status.is_informational())
                .ok_or_else(|| {
                    let message = format!("status_code is {}, it may be 200 to 999", code.get_ref());
                    self.error(code.span(), message)
                })?,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in response.headers {
            let header = HeaderName::try_from(&name)
                .map_err(|_| self.error(value.span(), format!("`{name}` is no name of a header")))?;
            let content = HeaderValue::try_from(value.get_ref()).map_err(|_| {
                self.error(value.span(), format!("header `{name}` has a character that is not allowed"))
            })?;
            headers.append(header, content);
        }
        Ok(StaticResponse { status, headers, body: response.body.unwrap_or_default().into() })
    }

    pub(super) fn routes(
        &self,
        triggers: Vec<Trigger>,
        components: &BTreeMap<String, Component>,
    ) -> Result<Routes<Responder>, ManifestError> {
        let mut routes: Vec<(Route, Responder)> = Vec::new();
        for trigger in triggers {
            let responder = match trigger.responder {
                TriggerResponder::Component(id) => {
                    self.check_component(id.get_ref(), id.span(), components)?;
                    Responder::Component(id.into_inner())
                }
                TriggerResponder::Static(response) => Responder::Static(response),
            };
            let span = trigger.route.span();
            let text = match trigger.route.into_inner() {
                TextOr::Text(text) => text,
                TextOr::Table(route) if route.private => continue,
                TextOr::Table(_) => {
                    return Err(self.error(span, "`private = false` says nothing; give a route"));
                }
            };
            let route = self.route(&text, span, &routes)?;
            routes.push((route, responder));
        }
        Ok(Routes::new(routes))
    }

    /// Spin only logs that a route is never reached; here that is a fault, because it is one in every manifest.
    fn route(
        &self,
        text: &str,
        span: Range<usize>,
        others: &[(Route, Responder)],
    ) -> Result<Route, ManifestError> {
        let route = Route::parse(text).map_err(|e| self.error(span.clone(), e.to_string()))?;
        if let Some((other, _)) = others.iter().find(|(other, _)| other.collides_with(&route)) {
            let message = format!("route `{text}` matches the same paths as `{}`", other.as_str());
            return Err(self.error(span, message));
        }
        if route.normal_form().starts_with(RESERVED_PREFIX) {
            let message = format!("route `{text}` is never reached: {RESERVED_PREFIX} is the host's own");
            return Err(self.error(span, message));
        }
        Ok(route)
    }
}

/// The ids that triggers have or, as Spin chooses them, get.
fn trigger_ids(triggers: &[Spanned<HttpTrigger>]) -> Vec<String> {
    let given = |trigger: &Spanned<HttpTrigger>| trigger.get_ref().id.as_ref().map(|id| id.get_ref().clone());
    let mut taken: BTreeSet<String> = triggers.iter().filter_map(given).collect();
    let mut ids = Vec::new();
    for trigger in triggers {
        let natural = match trigger.get_ref().component.as_ref().map(|component| component.get_ref()) {
            Some(TextOr::Text(component)) => Some(format!("{component}-http-trigger")),
            Some(TextOr::Table(_)) | None => None,
        };
        let id = given(trigger)
            .or_else(|| natural.filter(|id| !taken.contains(id)))
            .unwrap_or_else(|| unused("http-trigger", |id| taken.contains(id)));
        taken.insert(id.clone());
        ids.push(id);
    }
    ids
}

/// The first of `NAME1`, `NAME2` and so on that is free.
fn unused(name: &str, taken: impl Fn(&str) -> bool) -> String {
    (1..)
        .map(|n: u32| format!("{name}{n}"))
        .find(|id| !taken(id))
        .expect("a manifest of a megabyte does not name four thousand million")
}
