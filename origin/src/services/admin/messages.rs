//! What people write to each other, for admins: nobody looks without leaving a trace.

use super::query::PageQuery;
use super::{AdminError, AdminService, Found, Page, admit, found, page, require_admin};
use crate::store::collections::MESSAGES;
use crate::store::{AuditEntry, Records};
use serde_json::{Map, Value, json};
use sync_protocol::bookmark::Bookmark;
use sync_protocol::token::Claims;

impl AdminService {
    /// One page of who wrote to whom. The audit log says who asked for what.
    pub(crate) async fn list_messages(
        &self,
        claims: &Claims,
        query: Vec<(String, String)>,
        seen: Option<Bookmark>,
    ) -> Result<Page, AdminError> {
        let asked: Map<_, _> =
            query.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        let query = PageQuery::read(&MESSAGES, query)?;
        self.look(claims, ("list-messages", None), seen, move |records, bookmark| {
            let page = page(records, &MESSAGES, &query, bookmark)?;
            let looked_at = json!({"query": asked, "messages": page.items.len()});
            Ok((page, Some(looked_at)))
        })
        .await
    }

    /// One message with its text. The audit log says who read it.
    pub(crate) async fn read_message(
        &self,
        claims: &Claims,
        message: String,
        seen: Option<Bookmark>,
    ) -> Result<Found, AdminError> {
        let key = vec![message.clone()];
        self.look(claims, ("read-message", Some(message)), seen, move |records, bookmark| {
            Ok((found(records, &MESSAGES, key, bookmark)?, None))
        })
        .await
    }

    /// Reads for an admin and says so in the audit log, in one transaction: what cannot be noted is not shown.
    async fn look<T: Send + 'static>(
        &self,
        claims: &Claims,
        (act, record): (&'static str, Option<String>),
        seen: Option<Bookmark>,
        work: impl FnOnce(&dyn Records, Bookmark) -> Result<(T, Option<Value>), AdminError> + Send + 'static,
    ) -> Result<T, AdminError> {
        require_admin(claims)?;
        let claims = claims.clone();
        let institute = claims.inst.clone();
        let looked = self.store.write_aside(&institute, move |tx| {
            let bookmark = admit(tx.records(), &claims, seen)?;
            let (shown, looked_at) = work(tx.records(), bookmark)?;
            let entry = AuditEntry::of_act(&claims, act, MESSAGES.record);
            let after = looked_at.map(|looked_at| looked_at.to_string());
            tx.add_audit(&AuditEntry { record, after, revision: tx.revision()?, ..entry })?;
            Ok::<_, AdminError>(shown)
        });
        Ok(looked.await?.value)
    }
}
