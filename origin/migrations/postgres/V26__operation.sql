-- Lists of refunds, and of work that was set aside, for an institute's admins.
CREATE INDEX refunds_by_time ON refunds (institute, refunded_at, refund);
CREATE INDEX outbox_set_aside_of_institute ON outbox (institute, set_aside_at, consumer, revision)
    WHERE set_aside_at IS NOT NULL;
