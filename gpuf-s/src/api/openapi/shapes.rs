//! Schemas of what the rooms below hand out, which know nothing of OpenAPI, and of what wraps answers.
//!
//! The API's own types derive theirs. Tests hold every answer against the document.

use std::borrow::Cow;

use common::EngineKind;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ArrayBuilder, ObjectBuilder, Ref, RefOr, Schema, Type,
        schema::{AdditionalProperties, SchemaType},
    },
};

use crate::{
    auth::desk::{
        KeyMade, KeyView, KeyWish, Revoked, TenantMade, TenantView, TenantWish, TokenMade, TokenView,
        TokenWish,
    },
    store::{AuditLine, Outcome},
};

/// Schemas by their names.
pub(super) type Schemas = Vec<(String, RefOr<Schema>)>;

/// A reference to the schema of a type, which is added to the others with all that it refers to.
pub(super) fn named<T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    T::schemas(schemas);
    let name = T::name().into_owned();
    let reference = Ref::from_schema_name(name.clone()).into();
    schemas.push((name, T::schema()));
    reference
}

fn of(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind)
}

fn or_null(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::from_iter([kind, Type::Null]))
}

fn done(object: ObjectBuilder) -> RefOr<Schema> {
    Schema::Object(object.build()).into()
}

fn list(rows: RefOr<Schema>) -> RefOr<Schema> {
    Schema::Array(ArrayBuilder::new().items(rows).build()).into()
}

pub(super) fn text() -> RefOr<Schema> {
    done(of(Type::String))
}

fn text_or_null() -> RefOr<Schema> {
    done(or_null(Type::String))
}

fn flag() -> RefOr<Schema> {
    done(of(Type::Boolean))
}

fn whole() -> RefOr<Schema> {
    done(of(Type::Integer))
}

fn whole_or_null() -> RefOr<Schema> {
    done(or_null(Type::Integer))
}

fn number() -> RefOr<Schema> {
    done(of(Type::Number))
}

fn number_or_null() -> RefOr<Schema> {
    done(or_null(Type::Number))
}

fn name() -> RefOr<Schema> {
    done(of(Type::String).min_length(Some(1)).max_length(Some(100)))
}

fn models() -> RefOr<Schema> {
    let names =
        ArrayBuilder::new().items(text()).schema_type(SchemaType::from_iter([Type::Array, Type::Null]));
    Schema::Array(names.build()).into()
}

/// The id of a key, a join token or a tenant.
pub(in crate::api) fn row_id() -> RefOr<Schema> {
    done(of(Type::String).pattern(Some("^[0-9a-f]{16}$")))
}

/// The id of an agent.
pub(in crate::api) fn agent_id() -> RefOr<Schema> {
    done(of(Type::String).pattern(Some("^[0-9a-f]{32}$")))
}

/// A kind of engine.
pub(in crate::api) fn engine_kind() -> RefOr<Schema> {
    done(of(Type::String).enum_values(Some(EngineKind::ALL.iter().map(|kind| kind.as_str()))))
}

/// Stands for [`EngineKind`] where a type is wanted.
pub(in crate::api) struct EngineName;

impl PartialSchema for EngineName {
    fn schema() -> RefOr<Schema> {
        engine_kind()
    }
}

impl ToSchema for EngineName {}

impl PartialSchema for Outcome {
    fn schema() -> RefOr<Schema> {
        outcome()
    }
}

impl ToSchema for Outcome {}

/// Kinds of engines.
pub(in crate::api) fn engine_kinds() -> RefOr<Schema> {
    list(engine_kind())
}

/// How a request ended.
pub(in crate::api) fn outcome() -> RefOr<Schema> {
    done(of(Type::String).enum_values(Some(Outcome::ALL.map(Outcome::as_str))))
}

/// Rows, and where the next page begins.
pub(super) fn page(rows: RefOr<Schema>) -> RefOr<Schema> {
    done(ObjectBuilder::new().property("data", list(rows)).required("data").property("next", text()))
}

/// Likewise, within an envelope.
pub(super) fn items(rows: RefOr<Schema>) -> RefOr<Schema> {
    let object = ObjectBuilder::new().property("items", list(rows)).property("next", text_or_null());
    done(object.required("items").required("next"))
}

/// What succeeded, in the envelope.
pub(super) fn envelope(data: RefOr<Schema>) -> RefOr<Schema> {
    done(enveloped(data))
}

fn enveloped(data: RefOr<Schema>) -> ObjectBuilder {
    let moment = of(Type::String).description(Some("RFC 3339, UTC.")).pattern(Some("Z$"));
    ObjectBuilder::new()
        .property("success", flag())
        .required("success")
        .property("data", data)
        .required("data")
        .property("message", text())
        .required("message")
        .property("timestamp", done(moment))
        .required("timestamp")
}

/// What failed, in the envelope.
pub(super) fn error_envelope() -> (String, RefOr<Schema>) {
    ("ErrorEnvelope".to_owned(), done(enveloped(done(of(Type::Null)))))
}

/// What failed.
pub(super) fn error() -> (String, RefOr<Schema>) {
    let object = ObjectBuilder::new()
        .property("message", described(text(), "For people."))
        .required("message")
        .property("type", described(text(), "`invalid_request_error` or `server_error`."))
        .required("type")
        .property("param", described(text_or_null(), "The field to blame."))
        .required("param")
        .property("code", described(text(), "For programs."))
        .required("code");
    ("Error".to_owned(), done(ObjectBuilder::new().property("error", done(object)).required("error")))
}

fn described(schema: RefOr<Schema>, what: &str) -> RefOr<Schema> {
    match schema {
        RefOr::T(Schema::Object(mut object)) => {
            object.description = Some(what.to_owned());
            Schema::Object(object).into()
        }
        RefOr::T(Schema::Array(mut array)) => {
            array.description = Some(what.to_owned());
            Schema::Array(array).into()
        }
        other => other,
    }
}

/// Declares the schema of a type of another room, field by field. `always` is there in every value, `maybe` can
/// be left out. A field that the type does not have does not compile.
macro_rules! shape {
    ($type:ty, $what:literal, { $($json:literal $field:ident $need:ident $schema:expr, $told:literal;)+ }) => {
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                let _ = |value: &Self| { $(let _ = &value.$field;)+ };
                let object = ObjectBuilder::new().description(Some($what));
                $(let object = $need(object.property($json, described($schema, $told)), $json);)+
                done(object.additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false))))
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                let path = stringify!($type);
                path.rsplit("::").next().unwrap_or(path).trim().into()
            }
        }
    };
}

fn always(object: ObjectBuilder, field: &str) -> ObjectBuilder {
    object.required(field)
}

const fn maybe(object: ObjectBuilder, _: &str) -> ObjectBuilder {
    object
}

shape!(KeyWish, "What a key should be.", {
    "name" name always name(), "What people call it.";
    "models" models maybe models(), "What it may use; null for every model.";
    "expires_in_days" expires_in_days maybe whole_or_null(), "When it ends by itself, 1 to 3650 days; null for never.";
    "dedicated_to" dedicated_to maybe text_or_null(), "Whose agents alone it may use; a tenant's key its tenant's.";
});
shape!(KeyView, "A key as it is shown: never the key itself.", {
    "id" id always row_id(), "Its id.";
    "name" name always name(), "What people call it.";
    "prefix" prefix always text(), "Its first characters.";
    "state" state always text(), "`active`, `expired` or `revoked`.";
    "models" models always models(), "What it may use; null for every model.";
    "dedicated_to" dedicated_to always text_or_null(), "Whose agents alone it may use.";
    "tenant" tenant always text_or_null(), "Whose it is; null for the operator's.";
    "created_unix" created_unix always whole(), "When it was made, seconds since the Unix epoch.";
    "expires_unix" expires_unix always whole_or_null(), "When it ends.";
    "revoked_unix" revoked_unix always whole_or_null(), "When it was revoked.";
});
shape!(KeyMade, "A key that was just made.", {
    "id" id always row_id(), "Its id.";
    "key" key always text(), "The key; nobody can show it again.";
    "details" shown always KeyView::schema(), "How it is listed from here on.";
});
shape!(TokenWish, "What a join token should be.", {
    "name" name maybe text_or_null(), "What people call it.";
    "uses" uses maybe whole_or_null(), "How many machines it lets in, 1 to 10000; one unless told.";
    "ttl_hours" ttl_hours maybe whole_or_null(), "How long it lives, 1 to 8784; a day unless told.";
    "owner" owner maybe text_or_null(), "Who owns the machines that come in with it; of a tenant's token the tenant.";
});
shape!(TokenView, "A join token as it is shown: never the token itself.", {
    "id" id always row_id(), "Its id.";
    "name" name always name(), "What people call it.";
    "state" state always text(), "`active`, `used`, `expired` or `revoked`.";
    "owner" owner always text_or_null(), "Who owns the machines that come in with it.";
    "uses_left" uses_left always whole(), "How many machines it still lets in.";
    "created_unix" created_unix always whole(), "When it was made, seconds since the Unix epoch.";
    "expires_unix" expires_unix always whole(), "When it ends.";
    "revoked_unix" revoked_unix always whole_or_null(), "When it was revoked.";
});
shape!(TokenMade, "A join token that was just made.", {
    "id" id always row_id(), "Its id.";
    "join" join always text(), "The join string; nobody can show it again.";
    "details" shown always TokenView::schema(), "How it is listed from here on.";
});
shape!(TenantWish, "What a tenant should be.", {
    "name" name always name(), "What people call it, and the owner of its agents. It is given once and for all.";
});
shape!(TenantView, "A tenant as it is shown: never its token.", {
    "id" id always row_id(), "Its id.";
    "name" name always name(), "What people call it, and the owner of its agents.";
    "prefix" prefix always text(), "Its token's first characters.";
    "state" state always text(), "`active` or `revoked`.";
    "created_unix" created_unix always whole(), "When it was made, seconds since the Unix epoch.";
    "revoked_unix" revoked_unix always whole_or_null(), "When its token was revoked.";
});
shape!(TenantMade, "A tenant that was just made.", {
    "id" id always row_id(), "Its id.";
    "token" token always text(), "Its token; nobody can show it again.";
    "details" shown always TenantView::schema(), "How it is listed from here on.";
});
shape!(Revoked, "What was revoked.", {
    "id" id always text(), "Its id.";
    "revoked" revoked always flag(), "Always true.";
});
shape!(AuditLine, "Who did what.", {
    "at" at always whole(), "When, seconds since the Unix epoch.";
    "actor" actor always text(), "Who: `api`, `command line`, `tenant NAME`, or an agent's id.";
    "action" action always text(), "What: `key.create`, `agent.enrol` and so on.";
    "subject" subject always text(), "To what: an id.";
    "detail" detail always text_or_null(), "What else a person should know.";
});

/// A host at one moment.
pub(in crate::api) fn host_sample() -> RefOr<Schema> {
    let fields = [
        ("memory_used_bytes", "Bytes of memory in use."),
        ("memory_total_bytes", "Bytes of memory in all."),
        ("disk_used_bytes", "Bytes used on the disks."),
        ("disk_total_bytes", "Bytes on the disks."),
        ("network_received_bytes", "Bytes received since the host started."),
        ("network_sent_bytes", "Bytes sent since the host started."),
        ("uptime_s", "Seconds since the host started."),
    ];
    let cpu = described(number(), "Share of all processors in use, 0 to 100.");
    let object = ObjectBuilder::new().property("cpu_percent", cpu).required("cpu_percent");
    done(fields.into_iter().fold(object, |object, (field, what)| {
        object.property(field, described(whole(), what)).required(field)
    }))
}

/// GPUs at one moment.
pub(in crate::api) fn gpu_samples() -> RefOr<Schema> {
    let fields = [
        ("index", whole(), "Index within the host."),
        ("name", text(), "Marketing name."),
        ("vendor", text(), "Maker."),
        ("busy_percent", number_or_null(), "Share of time that it worked, 0 to 100."),
        ("memory_used_bytes", whole_or_null(), "Bytes of memory in use."),
        ("memory_total_bytes", whole_or_null(), "Bytes of memory in all."),
        ("power_watts", number_or_null(), "Power drawn."),
        ("temperature_c", number_or_null(), "Temperature."),
        ("energy_joules", number_or_null(), "Energy since the driver started."),
    ];
    let object = fields.into_iter().fold(ObjectBuilder::new(), |object, (field, schema, what)| {
        object.property(field, described(schema, what)).required(field)
    });
    list(done(object))
}
