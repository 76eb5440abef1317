CREATE TYPE grade AS ENUM ('plain', 'gold');

CREATE TABLE accounts (
    id bigint PRIMARY KEY,
    owner text NOT NULL,
    grade grade NOT NULL DEFAULT 'plain',
    tags text[] NOT NULL DEFAULT '{}',
    note jsonb,
    opened timestamptz NOT NULL DEFAULT now(),
    key uuid
);
