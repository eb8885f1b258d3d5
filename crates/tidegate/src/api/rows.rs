//! Reading without a socket: one row, one page of a query, the catalog.

use axum::body::{Body, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query as UrlQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_edge::ApiError;
use tidegate_identity::{Principal, PrincipalKind};
use tidegate_model::json::{parse_key_text, write_cursor, write_row, write_string};
use tidegate_model::query::limits;
use tidegate_model::{Comparison, Detail, Entity, Filter, Page, Predicate, Query, ScanRequest, Value};

use super::caller::Caller;
use super::{Api, from_url, json};
use crate::members::Members;

#[derive(Deserialize)]
pub(super) struct PageUrl {
    query: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct RowUrl {
    /// For API keys, in entities with a tenant column.
    tenant: Option<String>,
}

/// `GET /v1/entities/{entity}?query=…`
pub(super) async fn page_by_url(
    State(api): State<Api>,
    Caller(principal): Caller,
    entity: Result<Path<String>, PathRejection>,
    url: Result<UrlQuery<PageUrl>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (Path(entity), UrlQuery(url)) = (from_url(entity)?, from_url(url)?);
    page(&api, &entity, url.query.as_deref().unwrap_or("{}"), &principal).await
}

/// `POST /v1/entities/{entity}/query`
pub(super) async fn page_by_body(
    State(api): State<Api>,
    Caller(principal): Caller,
    entity: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Response, ApiError> {
    let Path(entity) = from_url(entity)?;
    let malformed = |rule: String| ApiError::new(StatusCode::BAD_REQUEST, "malformed", rule);
    let reading = axum::body::to_bytes(body, limits::BYTES_MAX);
    let body: Bytes = match tokio::time::timeout(api.0.bounds.body_timeout, reading).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let message = format!("the body must be a query of at most {} bytes", limits::BYTES_MAX);
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
        }
        Err(_) => return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not arrive in time")),
    };
    let text = std::str::from_utf8(&body).map_err(|_| malformed("the body is not UTF-8".into()))?;
    page(&api, &entity, text, &principal).await
}

async fn page(api: &Api, entity: &str, query: &str, principal: &Principal) -> Result<Response, ApiError> {
    let entity = api.entity(entity)?;
    let query = Query::from_json(&api.0.catalog, &with_entity(entity, query)?)?;
    let (tenant, query) = api.0.authority.read(principal, query)?;
    let request = ScanRequest {
        entity: query.entity.id(),
        tenant,
        order: query.order.clone(),
        predicate: Predicate::new(query.filter.clone()).into(),
        after: query.after.clone(),
        want: query.limit as usize,
    };
    let page = api.ask(move |mirror| mirror.page(request)).await?;
    if page.rows.len() < query.limit as usize && page.upto.is_some() {
        let message = "the page is larger than one answer may be; ask for fewer rows";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "too_large", message));
    }
    Ok(json(page_text(&query, &page)))
}

/// `GET /v1/entities/{entity}/{key}`
pub(super) async fn one(
    State(api): State<Api>,
    Caller(principal): Caller,
    path: Result<Path<(String, String)>, PathRejection>,
    url: Result<UrlQuery<RowUrl>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Path((entity, key)) = from_url(path)?;
    row(&api, &entity, &key, from_url(url)?.0, &principal).await
}

/// The row whose key is the name of another route.
pub(super) async fn one_named_query(
    State(api): State<Api>,
    Caller(principal): Caller,
    path: Result<Path<String>, PathRejection>,
    url: Result<UrlQuery<RowUrl>, QueryRejection>,
) -> Result<Response, ApiError> {
    row(&api, &from_url(path)?, "query", from_url(url)?.0, &principal).await
}

/// As [`one_named_query`].
pub(super) async fn one_named_changes(
    State(api): State<Api>,
    Caller(principal): Caller,
    path: Result<Path<String>, PathRejection>,
    url: Result<UrlQuery<RowUrl>, QueryRejection>,
) -> Result<Response, ApiError> {
    row(&api, &from_url(path)?, "changes", from_url(url)?.0, &principal).await
}

async fn row(api: &Api, entity: &str, key: &str, url: RowUrl, principal: &Principal) -> Result<Response, ApiError> {
    let entity = api.entity(entity)?.clone();
    let named = url.tenant.map(Value::text);
    let query = everything(api, &entity, named)?;
    let (tenant, _) = api.0.authority.read(principal, query.clone())?;
    let wrong = |e: tidegate_model::ValueError| ApiError::new(StatusCode::BAD_REQUEST, "invalid_key", e.0);
    let key = parse_key_text(&entity, key).map_err(wrong)?;
    let id = entity.id();
    let (row, position) = api.ask(move |mirror| mirror.get(id, &tenant, key)).await?;
    // What the principal may not see is not there.
    let not_found = || ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is no such row");
    let row = row.ok_or_else(not_found)?;
    let columns = visible(api, principal, &query, |rows| rows.matches(&row))?;
    if columns.is_empty() {
        return Err(not_found());
    }
    let mut out = b"{\"row\":".to_vec();
    write_row(&entity, &columns, &row, &mut out);
    out.extend_from_slice(format!(",\"version\":{},\"position\":\"{position}\"}}", row.version()).as_bytes());
    Ok(json(out))
}

/// `GET /v1/entities`: what the principal may see of the catalog.
pub(super) async fn catalog(State(api): State<Api>, Caller(principal): Caller) -> Result<Response, ApiError> {
    let mut out = b"{\"entities\":[".to_vec();
    for entity in api.0.catalog.entities() {
        // A key names its tenant in each query; any name tells which columns there are.
        let named = (principal.kind == PrincipalKind::ApiKey).then(|| Value::text(""));
        let query = everything(&api, entity, named)?;
        let Ok(columns) = visible(&api, &principal, &query, |_| true) else { continue };
        if out.last() == Some(&b'}') {
            out.push(b',');
        }
        let may_write = api.0.authority.write(&principal, entity).is_ok();
        write_entity(entity, &columns, may_write, &mut out);
    }
    out.extend_from_slice(b"]}");
    Ok(json(out))
}

/// The columns of `query` that the principal may see in rows that are `shown`, given which rows a column is granted in.
/// A column may be granted in other rows than the rest, so one that does not come with them is asked for alone.
fn visible(
    api: &Api,
    principal: &Principal,
    query: &Query,
    shown: impl Fn(&Filter) -> bool,
) -> Result<Vec<u16>, ApiError> {
    let together = api.0.authority.read(principal, query.clone())?.1;
    let is_shown = |seen: &Query, column: u16| seen.select.contains(&column) && shown(&seen.filter);
    let alone = |column: u16| {
        let query = Query { select: [column].into(), ..query.clone() };
        api.0.authority.read(principal, query).is_ok_and(|(_, seen)| is_shown(&seen, column))
    };
    let columns = query.select.iter().copied();
    Ok(columns.filter(|column| is_shown(&together, *column) || alone(*column)).collect())
}

/// The query for every row, of the tenant named where the entity has tenants.
fn everything(api: &Api, entity: &Entity, tenant: Option<Value>) -> Result<Query, ApiError> {
    let mut query = Query::from_json(&api.0.catalog, &with_entity(entity, "{}")?)?;
    if let Some((column, name)) = entity.tenant().zip(tenant) {
        query.filter = Filter::compare(column, Comparison::Eq, name);
    }
    Ok(query)
}

/// The query's text with the entity of the URL in it.
fn with_entity(entity: &Entity, query: &str) -> Result<String, ApiError> {
    let malformed = |rule: String| {
        let error = ApiError::new(StatusCode::BAD_REQUEST, "invalid_query", rule);
        ApiError { path: Some("query".into()), ..error }
    };
    if query.len() > limits::BYTES_MAX {
        return Err(malformed(format!("has {} bytes; at most {} are allowed", query.len(), limits::BYTES_MAX)));
    }
    let Members(members) = serde_json::from_str(query).map_err(|e| malformed(e.to_string()))?;
    let mut name = Vec::new();
    write_string(entity.name(), &mut name);
    let mut out = b"{\"entity\":".to_vec();
    out.extend_from_slice(&name);
    for (member, value) in &members {
        if member == "entity" {
            if RawValue::get(value).as_bytes() != name {
                return Err(malformed("names another entity than the URL does".into()));
            }
            continue;
        }
        out.push(b',');
        write_string(member, &mut out);
        out.push(b':');
        out.extend_from_slice(value.get().as_bytes());
    }
    out.push(b'}');
    String::from_utf8(out).map_err(|e| malformed(e.to_string()))
}

fn page_text(query: &Query, page: &Page) -> Vec<u8> {
    let mut out = b"{\"rows\":[".to_vec();
    for (i, (_, row)) in page.rows.iter().enumerate() {
        out.extend_from_slice(if i > 0 { b",{\"row\":" } else { b"{\"row\":" });
        write_row(&query.entity, &query.select, row, &mut out);
        out.extend_from_slice(format!(",\"version\":{},\"cursor\":", row.version()).as_bytes());
        write_cursor(&query.order, row, &mut out);
        out.push(b'}');
    }
    out.extend_from_slice(format!("],\"position\":\"{}\"}}", page.position).as_bytes());
    out
}

fn write_entity(entity: &Entity, visible: &[u16], may_write: bool, out: &mut Vec<u8>) {
    let column = |index: &u16| {
        let column = entity.column(*index);
        let mut described = serde_json::json!({
            "name": &*column.name, "type": column.kind.name(),
            "filterable": column.filterable, "sortable": column.sortable,
        });
        if let Detail::Labels(labels) = &column.detail {
            described["labels"] = labels.iter().map(|label| &**label).collect();
        }
        if entity.tenant() == Some(*index) {
            described["tenant"] = true.into();
        }
        described
    };
    let key: Vec<&str> = entity.key().iter().map(|column| &*entity.column(*column).name).collect();
    let may = if may_write { &["read", "write"][..] } else { &["read"] };
    let described = serde_json::json!({
        "name": &**entity.name(), "key": key, "may": may, "max_window": entity.max_window(),
        "columns": visible.iter().map(column).collect::<Vec<_>>(),
    });
    out.extend_from_slice(described.to_string().as_bytes());
}
