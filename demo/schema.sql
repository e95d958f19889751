-- Momentry's demo schema: 12 tables that a playground has of its own, and those that it shares.
--
-- Run with search_path set to the schema that is to hold it, and `public` behind that one for
-- pgvector's types. No statement names a schema, so that tests can use another one.
-- docs/demo.md lists every column and says what is personal; a test compares the two.

CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;

CREATE TYPE video_status AS ENUM ('registered', 'processing', 'ready', 'failed', 'archived');
CREATE TYPE processor_kind AS ENUM ('asr', 'ocr', 'face', 'scene');
CREATE TYPE file_event AS ENUM ('created', 'moved', 'read', 'deleted');
CREATE DOMAIN email_address AS text CHECK (VALUE ~ '^[^@[:space:]]+@[^@[:space:]]+\.[^@[:space:]]+$');
COMMENT ON DOMAIN email_address IS 'One address, as people write it';

-- Pre-chunks and chunks are numbered from one sequence, so that a number names one of either.
CREATE SEQUENCE chunk_number AS bigint;

CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

-- --- the playground has these of its own ---------------------------------------------------------

CREATE TABLE videos (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    title varchar(200) NOT NULL,
    description text NOT NULL DEFAULT '',
    status video_status NOT NULL DEFAULT 'registered',
    owner_name varchar(80) NOT NULL,
    owner_email email_address NOT NULL,
    owner_username varchar(40) NOT NULL,
    owner_phone varchar(32),
    owner_key text GENERATED ALWAYS AS (lower(owner_username)) STORED,
    file_path text NOT NULL,
    source_url text,
    width integer NOT NULL DEFAULT 1920 CHECK (width > 0),
    height integer NOT NULL DEFAULT 1080 CHECK (height > 0),
    pixels bigint GENERATED ALWAYS AS (width::bigint * height) STORED,
    fps real NOT NULL DEFAULT 25,
    duration numeric(10, 3) NOT NULL,
    tags text[] NOT NULL DEFAULT '{}',
    speakers text[] NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    latitude double precision CHECK (latitude BETWEEN -90 AND 90),
    longitude double precision CHECK (longitude BETWEEN -180 AND 180),
    cover_cluster_id bigint,
    recorded_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE videos IS 'What was uploaded, and by whom';
COMMENT ON COLUMN videos.speakers IS 'Full names, as they are said in the video';

CREATE TABLE pre_chunks (
    id bigint DEFAULT nextval('chunk_number') PRIMARY KEY,
    video_id bigint NOT NULL,
    position integer NOT NULL CHECK (position >= 0),
    start_time double precision NOT NULL,
    end_time double precision NOT NULL,
    length double precision GENERATED ALWAYS AS (end_time - start_time) STORED,
    raw_text text NOT NULL,
    language varchar(8) NOT NULL DEFAULT 'en',
    confidence real NOT NULL DEFAULT 1 CHECK (confidence BETWEEN 0 AND 1),
    CHECK (end_time > start_time)
);

CREATE TABLE chunks (
    id bigint DEFAULT nextval('chunk_number') PRIMARY KEY,
    uuid uuid NOT NULL DEFAULT gen_random_uuid(),
    video_id bigint NOT NULL,
    pre_chunk_id bigint,
    position integer NOT NULL,
    content text NOT NULL,
    content_hash text GENERATED ALWAYS AS (md5(content)) STORED,
    summary text,
    speaker_id bigint,
    speaker_name varchar(80),
    language varchar(8) NOT NULL DEFAULT 'en',
    keywords text[] NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE chunks IS 'What one person says, a few sentences at a time';

CREATE TABLE chunk_vectors (
    chunk_id bigint PRIMARY KEY,
    model varchar(40) NOT NULL DEFAULT 'rule1-small',
    embedding public.vector(128) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE frames (
    video_id bigint NOT NULL,
    frame_number integer NOT NULL CHECK (frame_number >= 0),
    at_second double precision NOT NULL,
    image_path text NOT NULL,
    ocr_text text,
    brightness smallint NOT NULL DEFAULT 128,
    PRIMARY KEY (video_id, frame_number)
) PARTITION BY RANGE (video_id);
CREATE TABLE frames_1 PARTITION OF frames FOR VALUES FROM (MINVALUE) TO (251);
CREATE TABLE frames_2 PARTITION OF frames FOR VALUES FROM (251) TO (5001);
CREATE TABLE frames_rest PARTITION OF frames DEFAULT;

CREATE TABLE processor_results (
    id bigserial PRIMARY KEY,
    video_id bigint NOT NULL,
    processor processor_kind NOT NULL,
    succeeded boolean NOT NULL DEFAULT false,
    worker_ip inet,
    requested_by email_address,
    result jsonb NOT NULL DEFAULT '{}',
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    took interval GENERATED ALWAYS AS (finished_at - started_at) STORED
);

CREATE TABLE file_registry (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    video_id bigint,
    path text NOT NULL UNIQUE,
    "originalName" text NOT NULL,
    owner_username varchar(40) NOT NULL,
    mime_type varchar(60) NOT NULL DEFAULT 'application/octet-stream',
    size bigint NOT NULL CHECK (size >= 0),
    digest bytea NOT NULL,
    replaces_id bigint,
    registered_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE file_lifecycle (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    file_id bigint NOT NULL,
    event file_event NOT NULL,
    actor_username varchar(40),
    actor_ip inet,
    reason text,
    details jsonb NOT NULL DEFAULT '{}',
    happened_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE face_identities (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    name varchar(80) NOT NULL,
    email email_address,
    username varchar(40) NOT NULL,
    phone varchar(32),
    birthday date,
    street varchar(120),
    city varchar(60),
    latitude double precision,
    longitude double precision,
    last_ip inet,
    homepage text,
    photo_path text,
    notes text,
    attributes jsonb NOT NULL DEFAULT '{}',
    embedding public.vector(128),
    best_detection_id bigint,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE face_identities IS 'The people: one row for each';

CREATE TABLE face_clusters (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    video_id bigint NOT NULL,
    identity_id bigint,
    label varchar(120) NOT NULL DEFAULT 'unknown',
    size integer NOT NULL DEFAULT 0,
    centroid public.vector(128),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE face_detections (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    video_id bigint NOT NULL,
    frame_number integer NOT NULL,
    cluster_id bigint,
    box integer[] NOT NULL CHECK (cardinality(box) = 4),
    confidence real NOT NULL,
    thumbnail_path text,
    detected_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE face_recognition_results (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    detection_id bigint NOT NULL,
    identity_id bigint,
    recognized_name varchar(80),
    similarity real NOT NULL,
    reviewer_email email_address,
    remark text,
    recognized_at timestamptz NOT NULL DEFAULT now()
);

-- --- production and playground share these --------------------------------------------------------

CREATE TABLE api_keys (
    id bigserial PRIMARY KEY,
    name varchar(80) NOT NULL,
    environment varchar(12) NOT NULL DEFAULT 'production'
        CHECK (environment IN ('production', 'development')),
    owner_name varchar(80) NOT NULL,
    owner_email email_address NOT NULL,
    key_prefix varchar(12) NOT NULL,
    key_hash text NOT NULL UNIQUE,
    scopes text[] NOT NULL DEFAULT '{read}',
    last_ip inet,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked boolean NOT NULL DEFAULT false
);

CREATE TABLE api_key_audit_log (
    id bigserial PRIMARY KEY,
    api_key_id bigint NOT NULL REFERENCES api_keys ON DELETE CASCADE,
    action varchar(40) NOT NULL,
    actor_email email_address,
    ip inet,
    user_agent text,
    details jsonb NOT NULL DEFAULT '{}',
    happened_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_key_anomalies (
    id bigserial PRIMARY KEY,
    api_key_id bigint NOT NULL REFERENCES api_keys ON DELETE CASCADE,
    kind varchar(40) NOT NULL,
    score real NOT NULL,
    ip inet,
    description text,
    detected_at timestamptz NOT NULL DEFAULT now(),
    resolved boolean NOT NULL DEFAULT false
);

CREATE TABLE monitor_services (
    id serial PRIMARY KEY,
    name varchar(60) NOT NULL UNIQUE,
    url text NOT NULL,
    owner_email email_address NOT NULL,
    enabled boolean NOT NULL DEFAULT true
);

CREATE TABLE monitor_checks (
    id bigserial PRIMARY KEY,
    service_id integer NOT NULL REFERENCES monitor_services,
    healthy boolean NOT NULL,
    latency_ms integer,
    message text,
    checked_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE monitor_alerts (
    id bigserial PRIMARY KEY,
    check_id bigint NOT NULL REFERENCES monitor_checks,
    recipient_email email_address NOT NULL,
    recipient_phone varchar(32),
    message text NOT NULL,
    sent_at timestamptz
);

CREATE TABLE backup_jobs (
    id serial PRIMARY KEY,
    name varchar(60) NOT NULL UNIQUE,
    target varchar(20) NOT NULL,
    directory text NOT NULL,
    schedule varchar(40) NOT NULL DEFAULT '0 3 * * *',
    owner_email email_address NOT NULL
);

CREATE TABLE backup_runs (
    id bigserial PRIMARY KEY,
    job_id integer NOT NULL REFERENCES backup_jobs,
    file_path text NOT NULL,
    bytes bigint NOT NULL DEFAULT 0,
    checksum text,
    succeeded boolean NOT NULL DEFAULT false,
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);

CREATE TABLE gitea_tokens (
    id bigserial PRIMARY KEY,
    username varchar(40) NOT NULL,
    email email_address NOT NULL,
    token_name varchar(60) NOT NULL,
    token text NOT NULL,
    scopes text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE n8n_api_keys (
    id bigserial PRIMARY KEY,
    label varchar(60) NOT NULL,
    owner_email email_address NOT NULL,
    api_key text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE node_hosts (
    id serial PRIMARY KEY,
    hostname varchar(60) NOT NULL UNIQUE,
    ip inet NOT NULL,
    mac macaddr NOT NULL,
    region varchar(20) NOT NULL,
    admin_email email_address NOT NULL,
    last_seen timestamptz
);

CREATE TABLE node_metrics (
    id bigserial PRIMARY KEY,
    node_id integer NOT NULL REFERENCES node_hosts,
    cpu real NOT NULL,
    memory real NOT NULL,
    disk real NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE python_environments (
    id serial PRIMARY KEY,
    node_id integer NOT NULL REFERENCES node_hosts,
    name varchar(40) NOT NULL,
    version varchar(12) NOT NULL,
    path text NOT NULL,
    UNIQUE (node_id, name)
);

CREATE TABLE python_packages (
    id bigserial PRIMARY KEY,
    environment_id integer NOT NULL REFERENCES python_environments,
    name varchar(60) NOT NULL,
    version varchar(20) NOT NULL,
    license varchar(20),
    UNIQUE (environment_id, name)
);

CREATE TABLE storage_volumes (
    id serial PRIMARY KEY,
    node_id integer NOT NULL REFERENCES node_hosts,
    mount text NOT NULL,
    owner_username varchar(40) NOT NULL,
    capacity bigint NOT NULL,
    UNIQUE (node_id, mount)
);

CREATE TABLE storage_usage (
    id bigserial PRIMARY KEY,
    volume_id integer NOT NULL REFERENCES storage_volumes,
    used bigint NOT NULL,
    files integer NOT NULL,
    measured_at timestamptz NOT NULL DEFAULT now()
);

-- The shared views show nothing personal: they stand open to the playground.

CREATE VIEW v_idle_workflows AS
SELECT v.id AS video_id, v.status, max(r.started_at) AS last_started, count(r.id) AS runs
FROM videos v LEFT JOIN processor_results r ON r.video_id = v.id
WHERE v.status IN ('registered', 'processing')
GROUP BY v.id
HAVING count(r.id) FILTER (WHERE r.finished_at IS NULL) = 0;

CREATE VIEW v_recent_anomalies AS
SELECT a.id, k.environment, k.key_prefix, a.kind, a.score, a.detected_at, a.resolved
FROM api_key_anomalies a JOIN api_keys k ON k.id = a.api_key_id
WHERE a.detected_at > (SELECT max(detected_at) FROM api_key_anomalies) - interval '30 days';

CREATE VIEW v_service_health AS
SELECT s.id AS service_id, s.name, count(c.id) AS checks,
       avg((c.healthy)::int)::real AS uptime, max(c.checked_at) AS last_checked
FROM monitor_services s LEFT JOIN monitor_checks c ON c.service_id = s.id
GROUP BY s.id;

CREATE VIEW v_storage_overview AS
SELECT h.region, count(DISTINCT v.id) AS volumes, sum(v.capacity)::bigint AS capacity,
       sum(u.used)::bigint AS used
FROM storage_volumes v
JOIN node_hosts h ON h.id = v.node_id
LEFT JOIN LATERAL (
    SELECT used FROM storage_usage WHERE volume_id = v.id ORDER BY measured_at DESC LIMIT 1
) u ON true
GROUP BY h.region;
