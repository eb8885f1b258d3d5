//! What principals may do: grants by role and claim, row filters from templates, columns.
//!
//! Everything is refused that no grant allows. Grants add up, cell by cell: a cell can be seen where one grant covers
//! its row and its column. A live query has the same columns in each row, so it is narrowed to the columns of one grant
//! and to the rows of all that cover these columns.
//!
//! A column that may not be seen may not be asked about either: a filter tells what is in it, and so does an order.

mod grant;
mod template;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_model::{Changeable, Comparison, Entity, Filter, Guard, Query, Tenant, Value};

pub use grant::{AgentVerb, Audience, EntityRights, Grant, Patterns, Rights, TopicVerb};
pub use template::{Rows, Template};

use crate::{Principal, PrincipalKind, Refusal, WriteScope};

/// Who may do what, with the entities of one catalog.
///
/// `is_open`, where it is asked for: strangers are let in and there is no permission at all. Then everybody may do
/// everything, within their own tenant.
#[derive(Debug, Default)]
pub struct Permissions {
    grants: Vec<Grant>,
}

/// What of an entity's rows is granted to someone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RowVerb {
    Read,
    Write,
}

impl Permissions {
    /// In the order of the configuration.
    #[must_use]
    pub fn new(grants: Vec<Grant>) -> Self {
        Self { grants }
    }

    /// Whether there is none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    /// The claims that permissions name, sorted, each once: others need not be kept.
    #[must_use]
    pub fn named_claims(&self) -> Arc<[Box<str>]> {
        let audience = self.grants.iter().flat_map(|grant| grant.to.claims.iter().map(|(name, _)| &**name));
        let rows = self.grants.iter().flat_map(|grant| grant.rights.claims());
        let names: BTreeSet<&str> = audience.chain(rows).collect();
        names.into_iter().map(Into::into).collect()
    }

    /// The effective query, with the tenant whose rows it reads. Equal for all who have the same rights.
    ///
    /// # Errors
    /// The refusal to send.
    pub fn read(&self, principal: &Principal, query: Query, is_open: bool) -> Result<(Tenant, Query), Refusal> {
        if principal.kind == PrincipalKind::ApiKey {
            return Ok((named_tenant(&query)?, query));
        }
        let query = if is_open { query } else { self.narrowed(principal, query)? };
        Ok((own_tenant(principal, &query.entity)?, query))
    }

    /// Which rows of the entity the principal may change.
    ///
    /// # Errors
    /// The refusal to send.
    pub fn write(&self, principal: &Principal, entity: &Entity, is_open: bool) -> Result<WriteScope, Refusal> {
        if principal.kind == PrincipalKind::ApiKey {
            return Ok(WriteScope::Named);
        }
        let granted = if is_open { vec![everything()] } else { self.granted(principal, entity, RowVerb::Write) };
        if granted.is_empty() {
            return Err(Refusal::forbidden(format!("you may not change {:?}", &**entity.name())));
        }
        let guard = (!granted.contains(&everything())).then(|| Guard { alternatives: granted.into() });
        Ok(WriteScope::Own { tenant: own_tenant(principal, entity)?, guard })
    }

    /// Whether the principal may do that with the topic.
    ///
    /// # Errors
    /// The refusal to send.
    pub fn topic(&self, principal: &Principal, verb: TopicVerb, topic: &str, is_open: bool) -> Result<(), Refusal> {
        let granted = |rights: &Rights| match rights {
            Rights::Topics { may, topics } => may.contains(&verb) && topics.have(topic),
            _ => false,
        };
        self.any(principal, is_open, granted)
            .then_some(())
            .ok_or_else(|| Refusal::forbidden("you may not do that here"))
    }

    /// Whether the principal may do that with the agent. Serving it is never open to everybody: whoever does is given the inputs and
    /// the credentials of everybody's jobs.
    ///
    /// # Errors
    /// The refusal to send.
    pub fn agent(&self, principal: &Principal, verb: AgentVerb, agent: &str, is_open: bool) -> Result<(), Refusal> {
        let is_open = is_open && verb != AgentVerb::Serve;
        let granted = |rights: &Rights| match rights {
            Rights::Agents { may, agents } => may.contains(&verb) && agents.have(agent),
            _ => false,
        };
        self.any(principal, is_open, granted)
            .then_some(())
            .ok_or_else(|| Refusal::forbidden("you may not do that here"))
    }

    fn any(&self, principal: &Principal, is_open: bool, granted: impl Fn(&Rights) -> bool) -> bool {
        is_open
            || principal.kind == PrincipalKind::ApiKey
            || self.grants.iter().any(|grant| granted(&grant.rights) && grant.to.has(principal))
    }

    /// The rows and columns of the entity that are granted, in the order of the configuration.
    fn granted(&self, principal: &Principal, entity: &Entity, verb: RowVerb) -> Vec<Changeable> {
        let rights = self.grants.iter().filter_map(|grant| match &grant.rights {
            Rights::Rows { read, write, of } => {
                let may = if verb == RowVerb::Read { *read } else { *write };
                (may && grant.to.has(principal)).then_some(of)
            }
            _ => None,
        });
        let of_entity = rights.flatten().filter(|rights| rights.entity == entity.id());
        let filled = of_entity.filter_map(|EntityRights { rows, columns, .. }| {
            Some(Changeable { rows: rows.filter(entity, &principal.claims)?, columns: *columns })
        });
        filled.collect()
    }

    fn narrowed(&self, principal: &Principal, mut query: Query) -> Result<Query, Refusal> {
        let granted = self.granted(principal, &query.entity, RowVerb::Read);
        if granted.is_empty() {
            return Err(Refusal::forbidden(format!("you may not read {:?}", &**query.entity.name())));
        }
        let asked = query.order.sort().iter().fold(query.filter.columns(), |set, term| set | 1 << term.column);
        let selected = query.select.iter().fold(0u128, |set, column| set | 1 << column);
        // Of those that show as many the first.
        let best = granted
            .iter()
            .filter(|grant| asked & !grant.columns == 0)
            .min_by_key(|grant| Reverse((grant.columns & selected).count_ones()))
            .ok_or_else(|| hidden(&query.entity, asked, &granted))?;
        let shown = best.columns & selected;
        if shown == 0 {
            return Err(Refusal::forbidden("you may see none of the selected columns"));
        }
        let covering = granted.iter().filter(|grant| (asked | shown) & !grant.columns == 0);
        let rows = any_of(covering.map(|grant| &grant.rows));
        if shown != selected {
            query.select = query.select.iter().copied().filter(|column| shown & 1 << column != 0).collect();
        }
        if let Some(rows) = rows {
            query.filter = Filter::all(vec![query.filter, rows]);
        }
        Ok(query)
    }
}

/// All rows and columns.
fn everything() -> Changeable {
    Changeable { rows: Filter::everything(), columns: u128::MAX }
}

/// What any of the filters lets through, in a form that does not depend on their order; `None` is every row.
fn any_of<'a>(filters: impl Iterator<Item = &'a Filter>) -> Option<Filter> {
    let canonical = |filter: &Filter| {
        let mut bytes = Vec::new();
        filter.canonical(&mut bytes);
        bytes
    };
    let mut filters: Vec<(Vec<u8>, &Filter)> = filters.map(|filter| (canonical(filter), filter)).collect();
    if filters.iter().any(|(_, filter)| **filter == Filter::everything()) {
        return None;
    }
    filters.sort_by(|(a, _), (b, _)| a.cmp(b));
    filters.dedup_by(|(a, _), (b, _)| a == b);
    Some(match &filters[..] {
        [(_, one)] => (*one).clone(),
        several => Filter::Any(several.iter().map(|(_, filter)| (*filter).clone()).collect()),
    })
}

/// Says which column stands in the way of what is asked.
fn hidden(entity: &Entity, asked: u128, granted: &[Changeable]) -> Refusal {
    let seen = granted.iter().fold(0, |set, grant| set | grant.columns);
    let unseen = (asked & !seen).trailing_zeros() as usize;
    Refusal::forbidden(match entity.columns().get(unseen) {
        Some(column) => format!("you may not see {:?}, so you may not filter or sort by it", &*column.name),
        None => "no permission lets you see all the columns that you filter and sort by".to_owned(),
    })
}

/// The tenant that is the principal's own: it reads and changes no other's rows.
fn own_tenant(principal: &Principal, entity: &Entity) -> Result<Tenant, Refusal> {
    if entity.tenant().is_none() {
        return Ok(Tenant::common());
    }
    // The empty name is the common tenant's.
    principal.tenant.clone().filter(|tenant| *tenant != Tenant::common()).ok_or_else(|| Refusal {
        code: "no_tenant",
        message: format!("the rows of {:?} are tenants', and you belong to none", &**entity.name()),
        retryable: false,
        status: 403,
    })
}

/// The tenant that a server asks for, by an equality that must hold.
fn named_tenant(query: &Query) -> Result<Tenant, Refusal> {
    let Some(tenant) = query.entity.tenant() else { return Ok(Tenant::common()) };
    let named = query.filter.conjuncts().iter().find_map(|conjunct| match conjunct {
        Filter::Compare { column, op: Comparison::Eq, value: Value::Text(name) } if *column == tenant => {
            Some(Tenant::new(name))
        }
        _ => None,
    });
    named.ok_or_else(|| Refusal {
        code: "tenant_needed",
        message: format!(
            "an API key reads one tenant: add {{\"column\":{:?},\"op\":\"eq\",\"value\":…}} to where",
            &*query.entity.column(tenant).name
        ),
        retryable: false,
        status: 400,
    })
}
