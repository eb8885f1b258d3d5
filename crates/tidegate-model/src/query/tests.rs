use super::*;
use crate::{Detail, Element, EntityBuilder, Position, Predicate, Row, Type, Value};

fn catalog() -> Catalog {
    let column = |name: &str, kind| (name.to_owned(), kind);
    let asset = EntityBuilder {
        name: "asset".into(),
        columns: vec![
            column("id", Type::Text),
            column("n", Type::Int),
            column("temp", Type::Float),
            column("doc", Type::Json),
            column("hidden", Type::Text),
            column("tags", Type::Array(Element::Text)),
            column("status", Type::Enum),
            column("code", Type::Text),
            column("span", Type::Interval),
        ],
        details: vec![
            ("status".into(), Detail::Labels(["new", "done"].map(Into::into).into())),
            ("code".into(), Detail::Padded(3)),
            ("tags".into(), Detail::Padded(2)),
        ],
        key: vec!["id".into()],
        filterable: Some(["id", "n", "temp", "doc", "tags", "status", "code", "span"].map(String::from).to_vec()),
        sortable: Some(["n", "temp", "status", "code"].map(String::from).to_vec()),
        ..EntityBuilder::default()
    };
    Catalog::build(&[asset]).unwrap()
}

fn parse(text: &str) -> Result<Query, QueryError> {
    Query::from_json(&catalog(), text)
}

fn path_of(text: &str) -> String {
    parse(text).unwrap_err().path
}

/// `cells` are `n`, `temp` and, where given, `tags`, `status` and `code`.
fn matches(condition: &str, cells: &[&str]) -> bool {
    let catalog = catalog();
    let cell = |column, raw: Option<&&str>| {
        let read = |raw: &&str| catalog.entities()[0].column(column).value_from_json(raw).unwrap();
        raw.map_or(Value::Null, read)
    };
    let query = parse(&format!("{{\"entity\":\"asset\",\"where\":[{condition}]}}")).unwrap();
    let values = vec![
        Value::text("a"),
        Value::from_json(Type::Int, cells[0]).unwrap(),
        Value::from_json(Type::Float, cells[1]).unwrap(),
        Value::Null,
        Value::Null,
        cell(5, cells.get(2)),
        cell(6, cells.get(3)),
        cell(7, cells.get(4)),
        Value::Null,
    ];
    Predicate::new(query.filter).matches(&Row::new(Position(1), values))
}

#[test]
fn an_error_names_the_path() {
    assert_eq!(path_of("{}"), "query");
    assert_eq!(path_of("{\"entity\":\"nope\"}"), "entity");
    assert_eq!(path_of("{\"entity\":\"asset\",\"offset\":3}"), "query");
    let with = |rest: &str| path_of(&format!("{{\"entity\":\"asset\",{rest}}}"));
    assert_eq!(with("\"where\":[{\"column\":\"x\",\"op\":\"eq\",\"value\":1}]"), "where[0].column");
    assert_eq!(with("\"where\":[{\"column\":\"hidden\",\"op\":\"eq\",\"value\":\"\"}]"), "where[0].column");
    assert_eq!(with("\"where\":[{\"column\":\"n\",\"op\":\"~\",\"value\":1}]"), "where[0].op");
    assert_eq!(with("\"where\":[{\"column\":\"doc\",\"op\":\"gt\",\"value\":1}]"), "where[0].op");
    assert_eq!(with("\"where\":[{\"or\":[{\"column\":\"n\",\"op\":\"eq\",\"value\":\"x\"}]}]"), "where[0].or[0].value");
    assert_eq!(with("\"where\":[{\"column\":\"n\",\"op\":\"eq\",\"value\":[1]}]"), "where[0].value");
    assert_eq!(with("\"where\":[{\"column\":\"n\",\"op\":\"eq\"}]"), "where[0].value");
    assert_eq!(with("\"where\":[{\"column\":\"n\",\"op\":\"in\",\"value\":[1,{}]}]"), "where[0].value[1]");
    assert_eq!(with("\"where\":[{\"not\":{},\"or\":[]}]"), "where[0]");
    assert_eq!(with("\"sort\":[{\"column\":\"doc\"}]"), "sort[0].column");
    assert_eq!(with("\"limit\":0"), "limit");
    assert_eq!(with("\"limit\":-5"), "limit");
    assert_eq!(with("\"limit\":501"), "limit");
    assert_eq!(with("\"cursor\":{\"values\":[]}"), "cursor.values");
    assert_eq!(with("\"sort\":[{\"column\":\"n\"}],\"cursor\":{\"values\":[{},\"a\"]}"), "cursor.values[0]");
    assert_eq!(with("\"select\":[]"), "select");
}

#[test]
fn configuration_may_filter_by_what_clients_may_not() {
    let conditions = r#"[{"column":"hidden","op":"eq","value":"x"}]"#;
    let decoded: Vec<Object<ConditionJson<'_>>> = serde_json::from_str(conditions).unwrap();
    let filter = decode_conditions(&catalog().entities()[0], &decoded).unwrap();
    assert_eq!(filter, Filter::compare(4, crate::Comparison::Eq, Value::text("x")));
}

#[test]
fn depth_and_number_of_conditions_are_bounded() {
    let leaf = "{\"column\":\"n\",\"op\":\"eq\",\"value\":1}";
    let nested =
        |n: usize| format!("{{\"entity\":\"asset\",\"where\":[{}{leaf}{}]}}", "{\"and\":[".repeat(n), "]}".repeat(n));
    assert!(parse(&nested(limits::DEPTH_MAX - 1)).is_ok());
    assert!(parse(&nested(limits::DEPTH_MAX)).is_err());
    assert!(parse(&nested(5_000)).is_err());
    let many = |n: usize| format!("{{\"entity\":\"asset\",\"where\":[{}]}}", vec![leaf; n].join(","));
    assert!(parse(&many(limits::CONDITIONS_MAX)).is_ok());
    assert_eq!(path_of(&many(limits::CONDITIONS_MAX + 1)), "where[64]");
}

#[test]
fn a_fraction_against_an_integer_compares_by_value() {
    let n = |op: &str, value: &str, cell: &str| {
        matches(&format!("{{\"column\":\"n\",\"op\":\"{op}\",\"value\":{value}}}"), &[cell, "null"])
    };
    assert!(n("gt", "2.5", "3") && !n("gt", "2.5", "2") && n("lte", "-2.5", "-3") && !n("lte", "-2.5", "-2"));
    assert!(!n("eq", "2.5", "2") && !n("eq", "2.5", "3") && n("ne", "2.5", "2") && !n("ne", "2.5", "null"));
    assert!(n("gt", "-1e30", "-9223372036854775808") && !n("lt", "-1e30", "-9223372036854775808"));
    assert!(n("lt", "\"1e30\"", "9223372036854775807") && n("lt", "\"NaN\"", "9223372036854775807"));
    assert!(
        n("in", "[2.5, 3.0]", "3")
            && !n("in", "[2.5]", "2")
            && n("notin", "[2.5]", "2")
            && !n("notin", "[2.5]", "null")
    );
}

#[test]
fn null_is_unknown() {
    let temp = |condition: &str, cell: &str| matches(condition, &["1", cell]);
    assert!(!temp("{\"column\":\"temp\",\"op\":\"eq\",\"value\":null}", "null"));
    assert!(!temp("{\"not\":{\"column\":\"temp\",\"op\":\"eq\",\"value\":null}}", "1"));
    assert!(!temp("{\"column\":\"temp\",\"op\":\"ne\",\"value\":1}", "null"));
    assert!(!temp("{\"column\":\"temp\",\"op\":\"notin\",\"value\":[1,null]}", "2"));
    assert!(temp("{\"column\":\"temp\",\"op\":\"in\",\"value\":[1,null]}", "1"));
    assert!(
        temp("{\"column\":\"temp\",\"op\":\"isnull\"}", "null")
            && temp("{\"column\":\"temp\",\"op\":\"isnotnull\"}", "1")
    );
    assert!(temp("{\"column\":\"temp\",\"op\":\"eq\",\"value\":\"NaN\"}", "\"NaN\""));
    assert!(temp("{\"column\":\"temp\",\"op\":\"gt\",\"value\":\"Infinity\"}", "\"NaN\""));
    assert!(temp("{\"column\":\"temp\",\"op\":\"eq\",\"value\":0}", "-0.0"));
}

#[test]
fn arrays_contain_and_overlap() {
    let tags = |op: &str, value: &str, cell: &str| {
        let condition = format!("{{\"column\":\"tags\",\"op\":\"{op}\",\"value\":{value}}}");
        let holds = |condition: &str| matches(condition, &["1", "1", cell]);
        match (holds(&condition), holds(&format!("{{\"not\":{condition}}}"))) {
            (true, false) => Some(true),
            (false, true) => Some(false),
            _ => None,
        }
    };
    let cell = "[[\"a\",null],[\"b\",\"a\"]]";
    assert_eq!(tags("contains", "[\"b\",\"a \",\"a\"]", cell), Some(true));
    assert_eq!(tags("contains", "[\"a\",\"c\"]", cell), Some(false));
    assert_eq!(tags("contains", "[\"a\",null]", cell), Some(false));
    assert_eq!(tags("contains", "[]", "[]"), Some(true));
    assert_eq!(tags("contains", "[]", "null"), None);
    assert_eq!(tags("contains", "null", cell), None);
    assert_eq!(tags("overlaps", "[[\"c\"],[\"b\"]]", cell), Some(true));
    assert_eq!(tags("overlaps", "[null]", cell), Some(false));
    assert_eq!(tags("overlaps", "[]", cell), Some(false));
    assert_eq!(tags("overlaps", "[\"a\"]", "null"), None);
    assert_eq!(tags("eq", "[[\"a\",null],[\"b\",\"a\"]]", cell), Some(true));
    assert_eq!(tags("eq", "[\"a\",null,\"b\",\"a\"]", cell), Some(false));
    assert_eq!(tags("in", "[[],[\"a\"]]", "[\"a\"]"), Some(true));
    let many: Vec<String> = (0..200).map(|n| format!("\"{n}\"")).collect();
    let (all, most) = (format!("[{}]", many.join(",")), format!("[{}]", many[1..].join(",")));
    assert_eq!(tags("contains", &all, &all), Some(true));
    assert_eq!(tags("contains", &most, &all), Some(true));
    assert_eq!(tags("contains", &all, &most), Some(false));
    let too_many = format!("[{}]", vec!["\"a\""; limits::LIST_MAX + 1].join(","));
    let with = |column: &str, op: &str, value: &str| {
        path_of(&format!(
            "{{\"entity\":\"asset\",\"where\":[{{\"column\":\"{column}\",\"op\":\"{op}\",\"value\":{value}}}]}}"
        ))
    };
    assert_eq!(with("tags", "contains", &too_many), "where[0].value");
    assert_eq!(with("tags", "overlaps", "\"a\""), "where[0].value");
    assert_eq!(with("id", "contains", "[\"a\"]"), "where[0].op");
    assert_eq!(with("tags", "gt", "[\"a\"]"), "where[0].op");
    assert_eq!(with("span", "lt", "\"P1D\""), "where[0].op");
}

#[test]
fn labels_and_padding_are_the_columns() {
    let holds = |column: &str, op: &str, value: &str| {
        let condition = format!("{{\"column\":\"{column}\",\"op\":\"{op}\",\"value\":{value}}}");
        matches(&condition, &["1", "1", "[]", "\"done\"", "\"ab\""])
    };
    assert!(holds("status", "gt", "\"new\"") && holds("status", "in", "[\"done\",null]"));
    assert!(!holds("status", "eq", "\"new\"") && !holds("status", "eq", "null"));
    assert!(holds("code", "eq", "\"ab\"") && holds("code", "eq", "\"ab   \"") && holds("code", "in", "[\"ab\"]"));
    assert!(!holds("code", "ne", "\"ab\"") && !holds("code", "gt", "\"ab\"") && holds("code", "lt", "\"abcd\""));
    assert!(holds("code", "like", "\"ab \"") && !holds("code", "like", "\"ab\""));
    let with = |rest: &str| parse(&format!("{{\"entity\":\"asset\",{rest}}}"));
    let error = with("\"where\":[{\"column\":\"status\",\"op\":\"eq\",\"value\":\"old\"}]").unwrap_err();
    assert_eq!(error.to_string(), "where[0].value: expected one of \"new\", \"done\"");
    let after = |status: &str, code: &str| {
        with(&format!(
            "\"sort\":[{{\"column\":\"status\"}},{{\"column\":\"code\"}}],\"cursor\":{{\"values\":[{status},{code},\"k\"]}}"
        ))
        .map(|query| query.after)
    };
    assert_eq!(after("\"new\"", "\"a\""), after("\"new\"", "\"a  \""));
    assert!(after("\"new\"", "\"z\"").unwrap() < after("\"done\"", "\"a\"").unwrap());
    assert_eq!(after("\"old\"", "\"a\"").unwrap_err().path, "cursor.values[0]");
}

#[test]
fn equal_queries_have_one_fingerprint() {
    let fingerprint = |text: &str| parse(text).unwrap().fingerprint(&Tenant::common());
    let a = "{\"column\":\"n\",\"op\":\"eq\",\"value\":1}";
    let b = "{\"column\":\"temp\",\"op\":\"gt\",\"value\":2.0}";
    let query = |conditions: &str| format!("{{\"entity\":\"asset\",\"where\":[{conditions}],\"limit\":50}}");
    assert_eq!(fingerprint(&query(&format!("{a},{b}"))), fingerprint(&query(&format!("{b},{a}"))));
    assert_ne!(fingerprint(&query(a)), fingerprint(&query(b)));
    let base = parse(&query(a)).unwrap();
    assert_ne!(base.fingerprint(&Tenant::common()), base.fingerprint(&Tenant::new("x")));
    let cursor = RawValue::from_string("{\"values\":[\"k\"]}".into()).unwrap();
    assert_ne!(
        base.fingerprint(&Tenant::common()),
        base.reanchored(Some(&cursor), None).unwrap().fingerprint(&Tenant::common())
    );
    assert_ne!(
        base.fingerprint(&Tenant::common()),
        base.reanchored(None, Some(7)).unwrap().fingerprint(&Tenant::common())
    );
}

#[test]
fn members_by_position_are_no_query() {
    for text in [
        r#"["asset",[],[],5,null,null,"maintained"]"#,
        r#"{"entity":"asset","where":[["n","eq",1,null,null,null]]}"#,
        r#"{"entity":"asset","where":[{"or":[["n","eq",1,null,null,null]]}]}"#,
        r#"{"entity":"asset","where":[{"not":["n","eq",1,null,null,null]}]}"#,
        r#"{"entity":"asset","sort":[["n",true]]}"#,
        r#"{"entity":"asset","cursor":[["a"]]}"#,
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.message.contains("expected an object"), "{text}: {error}");
    }
    let cursor = RawValue::from_string("[[\"k\"]]".into()).unwrap();
    let query = parse(r#"{"entity":"asset"}"#).unwrap();
    assert_eq!(query.reanchored(Some(&cursor), None).unwrap_err().path, "cursor");
}

#[test]
fn a_filter_weighs_what_its_values_do() {
    let list: Vec<String> = (0..900).map(|n| format!("\"{n:032}\"")).collect();
    let query = parse(&format!(
        "{{\"entity\":\"asset\",\"where\":[{{\"column\":\"id\",\"op\":\"in\",\"value\":[{}]}}]}}",
        list.join(",")
    ));
    assert!(query.unwrap().filter.size() > 900 * 32);
    assert!(parse("{\"entity\":\"asset\"}").unwrap().filter.size() < 100);
}
