-- One row per scored payment: the primary key is what makes a repeated payment harmless.
CREATE TABLE scores (
    payment_id text PRIMARY KEY,
    account    text NOT NULL,
    amount     bigint NOT NULL,
    score      integer NOT NULL,
    velocity   bigint,
    scored_at  timestamptz NOT NULL DEFAULT now()
);

-- The effect of a score on the account's exposure. Deliberately without a unique key: an effect that happened twice
-- would show here as two rows.
CREATE TABLE exposure (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id text NOT NULL,
    account    text NOT NULL,
    amount     bigint NOT NULL
);
