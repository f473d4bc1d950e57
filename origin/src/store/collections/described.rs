//! The collections, one after the other.

use super::{Collection, Column, Filter, Kind, Sort, Test};

const fn column(name: &'static str, sql: &'static str, kind: Kind) -> Column {
    Column { name, sql, kind, alone: false, unlogged: false }
}

/// See [`Column::alone`].
const fn alone(name: &'static str, sql: &'static str, kind: Kind) -> Column {
    Column { name, sql, kind, alone: true, unlogged: false }
}

/// See [`Column::unlogged`].
const fn unlogged(name: &'static str, sql: &'static str, kind: Kind) -> Column {
    Column { name, sql, kind, alone: true, unlogged: true }
}

const fn equal(name: &'static str, sql: &'static str) -> Filter {
    Filter { name, sql, test: Test::Equal }
}

const fn from(sql: &'static str) -> Filter {
    Filter { name: "from", sql, test: Test::From }
}

const fn until(sql: &'static str) -> Filter {
    Filter { name: "until", sql, test: Test::Until }
}

const fn flag(name: &'static str, yes: &'static str, no: &'static str) -> Filter {
    Filter { name, sql: "", test: Test::Flag { yes, no } }
}

const fn by(name: &'static str, columns: &'static [&'static str]) -> Sort {
    Sort { name, columns }
}

pub(crate) static INSTITUTES: Collection = Collection {
    record: "institute",
    from: "institutes i",
    institute: "i.institute",
    columns: &[
        column("institute", "i.institute", Kind::Text),
        column("name", "i.name", Kind::Text),
        column("time_zone", "i.time_zone", Kind::Text),
        column("currency", "i.currency", Kind::Text),
        column("created_at", "i.created_at", Kind::Time),
    ],
    key: &["institute"],
    filters: &[],
    sorts: &[by("institute", &["institute"])],
};

pub(crate) static USERS: Collection = Collection {
    record: "user",
    from: "users u",
    institute: "u.institute",
    columns: &[
        column("user", "u.\"user\"", Kind::Text),
        column("email", "u.email", Kind::Text),
        column("name", "u.name", Kind::Text),
        column("role", "u.role", Kind::Text),
        column("active", "u.deactivated_at IS NULL", Kind::Flag),
        column("has_password", "u.password_hash IS NOT NULL", Kind::Flag),
        column("created_at", "u.created_at", Kind::Time),
    ],
    key: &["user"],
    filters: &[
        Filter {
            name: "role",
            sql: "u.role",
            test: Test::OneOf(&["admin", "teacher", "student", "guardian"]),
        },
        flag("active", "u.deactivated_at IS NULL", "u.deactivated_at IS NOT NULL"),
    ],
    sorts: &[by("name", &["name", "user"])],
};

pub(crate) static BATCHES: Collection = Collection {
    record: "batch",
    from: "batches b",
    institute: "b.institute",
    columns: &[column("batch", "b.batch", Kind::Text), column("title", "b.title", Kind::Text)],
    key: &["batch"],
    filters: &[],
    sorts: &[by("batch", &["batch"])],
};

pub(crate) static ENROLMENTS: Collection = Collection {
    record: "enrolment",
    from: "enrolments e JOIN users u ON u.\"user\" = e.student",
    institute: "e.institute",
    columns: &[
        column("batch", "e.batch", Kind::Text),
        column("student", "e.student", Kind::Text),
        column("student_name", "u.name", Kind::Text),
        column("enrolled_at", "e.enrolled_at", Kind::Time),
    ],
    key: &["batch", "student"],
    filters: &[equal("batch", "e.batch"), equal("student", "e.student")],
    sorts: &[by("batch", &["batch", "student"])],
};

pub(crate) static TEACHINGS: Collection = Collection {
    record: "teaching",
    from: "batch_teachers t JOIN users u ON u.\"user\" = t.\"user\"",
    institute: "t.institute",
    columns: &[
        column("batch", "t.batch", Kind::Text),
        column("teacher", "t.\"user\"", Kind::Text),
        column("teacher_name", "u.name", Kind::Text),
    ],
    key: &["batch", "teacher"],
    filters: &[equal("batch", "t.batch"), equal("teacher", "t.\"user\"")],
    sorts: &[by("batch", &["batch", "teacher"])],
};

pub(crate) static GUARDIANS: Collection = Collection {
    record: "guardianship",
    from: "guardians g JOIN users a ON a.\"user\" = g.guardian JOIN users s ON s.\"user\" = g.student",
    institute: "g.institute",
    columns: &[
        column("guardian", "g.guardian", Kind::Text),
        column("guardian_name", "a.name", Kind::Text),
        column("student", "g.student", Kind::Text),
        column("student_name", "s.name", Kind::Text),
    ],
    key: &["guardian", "student"],
    filters: &[equal("guardian", "g.guardian"), equal("student", "g.student")],
    sorts: &[by("guardian", &["guardian", "student"])],
};

pub(crate) static CLASSES: Collection = Collection {
    record: "class",
    from: "classes c JOIN users u ON u.\"user\" = c.teacher",
    institute: "c.institute",
    columns: &[
        column("class", "c.class", Kind::Text),
        column("batch", "c.batch", Kind::Text),
        column("title", "c.title", Kind::Text),
        column("room", "c.room", Kind::Text),
        column("teacher", "c.teacher", Kind::Text),
        column("teacher_name", "u.name", Kind::Text),
        column("starts_at", "c.starts_at", Kind::Time),
        column("ends_at", "c.ends_at", Kind::Time),
        column("cancelled", "c.cancelled_at IS NOT NULL", Kind::Flag),
        column("series", "c.series", Kind::Text),
    ],
    key: &["class"],
    filters: &[
        equal("batch", "c.batch"),
        equal("teacher", "c.teacher"),
        equal("series", "c.series"),
        from("c.starts_at"),
        until("c.starts_at"),
        flag("cancelled", "c.cancelled_at IS NOT NULL", "c.cancelled_at IS NULL"),
    ],
    sorts: &[by("starts_at", &["starts_at", "class"])],
};

/// What the classes of a series are together: before and after in the audit log.
pub(crate) static SERIES: Collection = Collection {
    record: "series",
    from: "(SELECT institute, series, min(batch) AS batch, min(title) AS title, min(teacher) AS teacher,
            count(*) AS classes, count(cancelled_at) AS cancelled, min(starts_at) AS first_at, max(starts_at) AS last_at
        FROM classes WHERE series IS NOT NULL GROUP BY institute, series) whole",
    institute: "whole.institute",
    columns: &[
        column("series", "whole.series", Kind::Text),
        column("batch", "whole.batch", Kind::Text),
        column("title", "whole.title", Kind::Text),
        column("teacher", "whole.teacher", Kind::Text),
        column("classes", "whole.classes", Kind::Integer),
        column("cancelled", "whole.cancelled", Kind::Integer),
        column("first_at", "whole.first_at", Kind::Time),
        column("last_at", "whole.last_at", Kind::Time),
    ],
    key: &["series"],
    filters: &[],
    sorts: &[by("series", &["series"])],
};

pub(crate) static ASSIGNMENTS: Collection = Collection {
    record: "assignment",
    from: "assignments a",
    institute: "a.institute",
    columns: &[
        column("assignment", "a.assignment", Kind::Text),
        column("batch", "a.batch", Kind::Text),
        column("title", "a.title", Kind::Text),
        column("due_at", "a.due_at", Kind::Time),
        column("max_score", "a.max_score", Kind::Real),
    ],
    key: &["assignment"],
    filters: &[equal("batch", "a.batch")],
    sorts: &[by("assignment", &["assignment"])],
};

pub(crate) static SUBMISSIONS: Collection = Collection {
    record: "submission",
    from: "submissions s JOIN assignments a ON a.institute = s.institute AND a.assignment = s.assignment JOIN users u ON u.\"user\" = s.student",
    institute: "s.institute",
    columns: &[
        column("submission", "s.submission", Kind::Text),
        column("assignment", "s.assignment", Kind::Text),
        column("batch", "a.batch", Kind::Text),
        column("student", "s.student", Kind::Text),
        column("student_name", "u.name", Kind::Text),
        column("submitted_at", "s.submitted_at", Kind::Time),
        column("score", "s.score", Kind::Real),
        column("max_score", "a.max_score", Kind::Real),
        column("graded_by", "s.graded_by", Kind::Text),
        column("graded_at", "s.graded_at", Kind::Time),
        alone("text", "s.text", Kind::Text),
        alone("feedback", "s.feedback", Kind::Text),
    ],
    key: &["submission"],
    filters: &[
        equal("assignment", "s.assignment"),
        equal("student", "s.student"),
        flag("graded", "s.score IS NOT NULL", "s.score IS NULL"),
    ],
    sorts: &[by("submission", &["submission"])],
};

pub(crate) static INVOICES: Collection = Collection {
    record: "invoice",
    from: "invoices i JOIN users u ON u.\"user\" = i.student",
    institute: "i.institute",
    columns: &[
        column("invoice", "i.invoice", Kind::Text),
        column("student", "i.student", Kind::Text),
        column("student_name", "u.name", Kind::Text),
        column("title", "i.title", Kind::Text),
        column("amount_minor", "i.amount_minor", Kind::Integer),
        column("paid_minor", "i.paid_minor", Kind::Integer),
        column("due_on", "i.due_on", Kind::Date),
        column("voided_at", "i.voided_at", Kind::Time),
    ],
    key: &["invoice"],
    filters: &[
        equal("student", "i.student"),
        flag(
            "open",
            "i.paid_minor < i.amount_minor AND i.voided_at IS NULL",
            "(i.paid_minor >= i.amount_minor OR i.voided_at IS NOT NULL)",
        ),
    ],
    sorts: &[by("invoice", &["invoice"])],
};

pub(crate) static PAYMENTS: Collection = Collection {
    record: "payment",
    from: "payments p JOIN invoices i ON i.institute = p.institute AND i.invoice = p.invoice JOIN users u ON u.\"user\" = i.student",
    institute: "p.institute",
    columns: &[
        column("payment", "p.payment", Kind::Text),
        column("invoice", "p.invoice", Kind::Text),
        column("student", "i.student", Kind::Text),
        column("student_name", "u.name", Kind::Text),
        column("amount_minor", "p.amount_minor", Kind::Integer),
        column("refunded_minor", "p.refunded_minor", Kind::Integer),
        column("method", "p.method", Kind::Text),
        column("reference", "p.reference", Kind::Text),
        column("recorded_by", "p.recorded_by", Kind::Text),
        column("paid_at", "p.paid_at", Kind::Time),
    ],
    key: &["payment"],
    filters: &[equal("invoice", "p.invoice"), from("p.paid_at"), until("p.paid_at")],
    sorts: &[by("paid_at", &["paid_at", "payment"])],
};

pub(crate) static REFUNDS: Collection = Collection {
    record: "refund",
    from: "refunds r JOIN payments p ON p.institute = r.institute AND p.payment = r.payment JOIN invoices i ON i.institute = p.institute AND i.invoice = p.invoice JOIN users u ON u.\"user\" = i.student",
    institute: "r.institute",
    columns: &[
        column("refund", "r.refund", Kind::Text),
        column("payment", "r.payment", Kind::Text),
        column("invoice", "p.invoice", Kind::Text),
        column("student", "i.student", Kind::Text),
        column("student_name", "u.name", Kind::Text),
        column("amount_minor", "r.amount_minor", Kind::Integer),
        column("reason", "r.reason", Kind::Text),
        column("refunded_by", "r.refunded_by", Kind::Text),
        column("refunded_at", "r.refunded_at", Kind::Time),
    ],
    key: &["refund"],
    filters: &[equal("payment", "r.payment"), from("r.refunded_at"), until("r.refunded_at")],
    sorts: &[by("refunded_at", &["refunded_at", "refund"])],
};

/// What payment providers told, and what became of it. The audit log repeats no provider's words.
pub(crate) static PAYMENT_EVENTS: Collection = Collection {
    record: "payment event",
    from: "payment_events e",
    institute: "e.institute",
    columns: &[
        column("provider", "e.provider", Kind::Text),
        column("event", "e.event", Kind::Text),
        column("status", "e.status", Kind::Text),
        column("reason", "e.reason", Kind::Text),
        column("received_at", "e.received_at", Kind::Time),
        column("settled_at", "e.settled_at", Kind::Time),
        column("settled_by", "e.settled_by", Kind::Text),
        column("settlement", "e.settlement", Kind::Text),
        unlogged("body", "e.body", Kind::Text),
    ],
    key: &["provider", "event"],
    filters: &[
        Filter { name: "status", sql: "e.status", test: Test::OneOf(&["applied", "ignored", "set-aside"]) },
        flag(
            "open",
            "e.status = 'set-aside' AND e.settled_at IS NULL",
            "(e.status <> 'set-aside' OR e.settled_at IS NOT NULL)",
        ),
        from("e.received_at"),
        until("e.received_at"),
    ],
    sorts: &[by("received_at", &["received_at", "provider", "event"])],
};

/// How far each user has read their messages. Nobody lists it; the audit log says how it changes.
pub(crate) static MAILBOXES: Collection = Collection {
    record: "mailbox",
    from: "users u",
    institute: "u.institute",
    columns: &[
        column("mailbox", "u.\"user\"", Kind::Text),
        column("messages_read", "u.messages_read", Kind::Integer),
    ],
    key: &["mailbox"],
    filters: &[],
    sorts: &[by("mailbox", &["mailbox"])],
};

/// Lists say who wrote to whom; what they wrote is in the record that is read alone, and who read it in the audit log.
pub(crate) static MESSAGES: Collection = Collection {
    record: "message",
    from: "messages m JOIN users u ON u.\"user\" = m.author",
    institute: "m.institute",
    columns: &[
        column("message", "m.message", Kind::Text),
        column("author", "m.author", Kind::Text),
        column("author_name", "u.name", Kind::Text),
        column("recipient", "m.recipient", Kind::Text),
        column("batch", "m.batch", Kind::Text),
        column("posted_at", "m.posted_at", Kind::Time),
        column("retracted", "m.retracted_at IS NOT NULL", Kind::Flag),
        unlogged("text", "m.text", Kind::Text),
        alone("retracted_at", "m.retracted_at", Kind::Time),
        alone("retracted_by", "m.retracted_by", Kind::Text),
        alone("reason", "m.reason", Kind::Text),
    ],
    key: &["message"],
    filters: &[
        equal("author", "m.author"),
        equal("recipient", "m.recipient"),
        equal("batch", "m.batch"),
        from("m.posted_at"),
        until("m.posted_at"),
        flag("retracted", "m.retracted_at IS NOT NULL", "m.retracted_at IS NULL"),
    ],
    sorts: &[by("posted_at", &["posted_at", "message"])],
};

pub(crate) static DOCUMENTS: Collection = Collection {
    record: "document",
    from: "(SELECT * FROM documents WHERE deleted_at IS NULL) d",
    institute: "d.institute",
    columns: &[
        column("document", "d.document", Kind::Text),
        column("kind", "d.kind", Kind::Text),
        column("subject", "d.subject", Kind::Text),
        column("batch", "d.batch", Kind::Text),
        column("owner", "d.owner", Kind::Text),
        column("changes", "d.changes", Kind::Integer),
        column("created_at", "d.created_at", Kind::Time),
        column("deleted_at", "d.deleted_at", Kind::Time),
        column("successor", "d.successor", Kind::Text),
        alone("heads", "d.heads", Kind::List),
        alone(
            "bytes",
            "(SELECT coalesce(sum(octet_length(c.bytes)), 0) FROM changes c WHERE c.document = d.document)",
            Kind::Integer,
        ),
        alone(
            "quarantined",
            "(SELECT count(*) FROM quarantine q WHERE q.institute = d.institute AND q.document = d.document
                AND q.settled_at IS NULL)",
            Kind::Integer,
        ),
        alone(
            "last_refusal",
            "(SELECT q.code FROM quarantine q WHERE q.institute = d.institute AND q.document = d.document
                AND q.settled_at IS NULL ORDER BY q.refused_at DESC LIMIT 1)",
            Kind::Text,
        ),
    ],
    key: &["document"],
    filters: &[equal("kind", "d.kind"), equal("batch", "d.batch")],
    sorts: &[by("subject", &["kind", "subject"])],
};

/// Threads in which somebody has written something. Their texts are in the record that is read alone.
pub(crate) static DOUBTS: Collection = Collection {
    record: "doubt",
    from: "doubts d JOIN users u ON u.\"user\" = d.asked_by",
    institute: "d.institute",
    columns: &[
        column("document", "d.document", Kind::Text),
        column("subject", "d.subject", Kind::Text),
        column("batch", "d.batch", Kind::Text),
        column("asked_by", "d.asked_by", Kind::Text),
        column("asked_by_name", "u.name", Kind::Text),
        column("excerpt", "substr(d.question, 1, 200)", Kind::Text),
        column("answer_count", "d.answer_count", Kind::Integer),
        column("answered", "d.answered_by IS NOT NULL", Kind::Flag),
        column("answered_by", "d.answered_by", Kind::Text),
        column("conflicts", "d.conflicts", Kind::Integer),
        column("asked_at", "d.asked_at", Kind::Time),
        column("updated_at", "d.updated_at", Kind::Time),
        alone("question", "d.question", Kind::Text),
        alone("answers", "d.answers", Kind::Json),
        alone("omitted_bytes", "d.omitted_bytes", Kind::Integer),
        alone("heads", "d.heads", Kind::Json),
    ],
    key: &["document"],
    filters: &[
        equal("batch", "d.batch"),
        equal("asked_by", "d.asked_by"),
        flag("answered", "d.answered_by IS NOT NULL", "d.answered_by IS NULL"),
        from("d.updated_at"),
        until("d.updated_at"),
        Filter {
            name: "q",
            sql: "",
            test: Test::Words {
                postgres: "d.document IN (SELECT s.document FROM search_doubts({}) s)",
                sqlite: "d.id IN (SELECT rowid FROM doubt_words WHERE doubt_words MATCH {})",
            },
        },
    ],
    sorts: &[by("updated_at", &["updated_at", "document"]), by("asked_at", &["asked_at", "document"])],
};

/// Those that nobody has settled.
pub(crate) static QUARANTINE: Collection = Collection {
    record: "quarantined change",
    from: "(SELECT * FROM quarantine WHERE settled_at IS NULL) q",
    institute: "q.institute",
    columns: &[
        column("document", "q.document", Kind::Text),
        column("hash", "lower(hex(q.hash))", Kind::Text),
        column("user", "q.\"user\"", Kind::Text),
        column("device", "q.device", Kind::Text),
        column("edge", "q.edge", Kind::Text),
        column("code", "q.code", Kind::Text),
        column("bytes", "CAST(octet_length(q.bytes) AS bigint)", Kind::Integer),
        column("refused_at", "q.refused_at", Kind::Time),
    ],
    key: &["document", "hash"],
    filters: &[equal("document", "q.document"), from("q.refused_at"), until("q.refused_at")],
    sorts: &[by("refused_at", &["refused_at", "document", "hash"])],
};

/// What users have registered; who signs in on another device is in the sessions alone.
pub(crate) static DEVICES: Collection = Collection {
    record: "registered device",
    from: "devices d JOIN users u ON u.\"user\" = d.\"user\"",
    institute: "d.institute",
    columns: &[
        column("user", "d.\"user\"", Kind::Text),
        column("user_name", "u.name", Kind::Text),
        column("device", "d.device", Kind::Text),
        column("name", "d.name", Kind::Text),
        column("platform", "d.platform", Kind::Text),
        column("registered_at", "d.registered_at", Kind::Time),
    ],
    key: &["user", "device"],
    filters: &[equal("user", "d.\"user\"")],
    sorts: &[by("user", &["user", "device"])],
};

/// Work of the outbox that failed too often. What it tells of is not shown: it may repeat what people write to each other.
pub(crate) static SET_ASIDE: Collection = Collection {
    record: "work set aside",
    from: "(SELECT * FROM outbox WHERE set_aside_at IS NOT NULL) o",
    institute: "o.institute",
    columns: &[
        column("consumer", "o.consumer", Kind::Text),
        column("revision", "o.revision", Kind::Integer),
        column("committed_at", "o.committed_at", Kind::Time),
        column("failures", "o.failures", Kind::Integer),
        column("fault", "o.fault", Kind::Text),
        column("set_aside_at", "o.set_aside_at", Kind::Time),
    ],
    key: &["consumer", "revision"],
    filters: &[from("o.set_aside_at"), until("o.set_aside_at")],
    sorts: &[by("set_aside_at", &["set_aside_at", "consumer", "revision"])],
};

/// A sign-in on a device: the one of its refresh tokens that was not used yet.
pub(crate) static SESSIONS: Collection = Collection {
    record: "session",
    from: "refresh_tokens t JOIN users u ON u.\"user\" = t.\"user\" AND t.rotated_at IS NULL",
    institute: "u.institute",
    columns: &[
        column("session", "t.family", Kind::Text),
        column("user", "t.\"user\"", Kind::Text),
        column("user_name", "u.name", Kind::Text),
        column("device", "t.device", Kind::Text),
        column("issued_at", "t.issued_at", Kind::Time),
        column("expires_at", "t.expires_at", Kind::Time),
        column("revoked_at", "t.revoked_at", Kind::Time),
    ],
    key: &["session"],
    filters: &[equal("user", "t.\"user\"")],
    sorts: &[by("user", &["user", "session"])],
};

pub(crate) static EDGE_LOGS: Collection = Collection {
    record: "edge log",
    from: "edge_logs l",
    institute: "l.institute",
    columns: &[
        column("log", "l.log", Kind::Text),
        column("edge", "l.edge", Kind::Text),
        column("acknowledged", "l.acknowledged", Kind::Integer),
    ],
    key: &["log"],
    filters: &[],
    sorts: &[by("log", &["log"])],
};

pub(crate) static AUDIT: Collection = Collection {
    record: "audit entry",
    from: "audit a",
    institute: "a.institute",
    columns: &[
        column("entry", "a.entry", Kind::Text),
        column("at", "a.at", Kind::Time),
        column("user", "a.\"user\"", Kind::Text),
        column("device", "a.device", Kind::Text),
        column("command", "a.command", Kind::Text),
        column("key", "a.key", Kind::Text),
        column("kind", "a.kind", Kind::Text),
        column("record", "a.record", Kind::Text),
        column("before", "a.before", Kind::Json),
        column("after", "a.after", Kind::Json),
        column("refusal", "a.refusal", Kind::Text),
        column("epoch", "a.epoch", Kind::Integer),
        column("revision", "a.revision", Kind::Integer),
    ],
    key: &["entry"],
    filters: &[
        equal("user", "a.\"user\""),
        equal("command", "a.command"),
        equal("record", "a.record"),
        Filter { name: "from", sql: "a.entry", test: Test::EntryFrom },
        Filter { name: "until", sql: "a.entry", test: Test::EntryUntil },
    ],
    sorts: &[by("entry", &["entry"])],
};

/// What users did with their accounts.
pub(crate) static ACTIVITIES: Collection = Collection {
    record: "activity",
    from: "user_activities v",
    institute: "v.institute",
    columns: &[
        column("activity", "v.activity", Kind::Text),
        column("at", "v.at", Kind::Time),
        column("user", "v.\"user\"", Kind::Text),
        column("kind", "v.kind", Kind::Text),
        column("device", "v.device", Kind::Text),
    ],
    key: &["activity"],
    filters: &[
        equal("user", "v.\"user\""),
        equal("kind", "v.kind"),
        Filter { name: "from", sql: "v.activity", test: Test::EntryFrom },
        Filter { name: "until", sql: "v.activity", test: Test::EntryUntil },
    ],
    sorts: &[by("activity", &["activity"])],
};

pub(crate) static ATTENDANCE: Collection = Collection {
    record: "mark",
    from: "attendance m JOIN classes c ON c.institute = m.institute AND c.class = m.class JOIN users u ON u.\"user\" = m.student",
    institute: "m.institute",
    columns: &[
        column("class", "m.class", Kind::Text),
        column("batch", "c.batch", Kind::Text),
        column("starts_at", "c.starts_at", Kind::Time),
        column("student", "m.student", Kind::Text),
        column("student_name", "u.name", Kind::Text),
        column("mark", "m.mark", Kind::Text),
        column("remark", "m.remark", Kind::Text),
    ],
    key: &["class", "student"],
    filters: &[equal("class", "m.class"), equal("student", "m.student")],
    sorts: &[by("class", &["class", "student"])],
};
