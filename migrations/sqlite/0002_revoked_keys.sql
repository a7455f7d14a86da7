-- Every server asks every few seconds what was revoked of late.
CREATE INDEX api_keys_revoked ON api_keys (revoked_unix) WHERE revoked_unix IS NOT NULL;
