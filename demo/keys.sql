-- Keys, indexes and triggers that stand after the rows: a load without them is faster, and the
-- tables refer to one another in a circle (videos -> face_clusters -> videos, and
-- face_identities -> face_detections -> face_clusters -> face_identities).

ALTER TABLE videos
    ADD FOREIGN KEY (cover_cluster_id) REFERENCES face_clusters DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE pre_chunks
    ADD UNIQUE (video_id, position),
    ADD FOREIGN KEY (video_id) REFERENCES videos ON DELETE CASCADE;
ALTER TABLE chunks
    ADD UNIQUE (video_id, position),
    ADD FOREIGN KEY (video_id) REFERENCES videos ON DELETE CASCADE,
    ADD FOREIGN KEY (pre_chunk_id) REFERENCES pre_chunks ON DELETE SET NULL,
    ADD FOREIGN KEY (speaker_id) REFERENCES face_identities;
ALTER TABLE chunk_vectors ADD FOREIGN KEY (chunk_id) REFERENCES chunks ON DELETE CASCADE;
ALTER TABLE frames ADD FOREIGN KEY (video_id) REFERENCES videos ON DELETE CASCADE;
ALTER TABLE processor_results ADD FOREIGN KEY (video_id) REFERENCES videos ON DELETE CASCADE;
ALTER TABLE file_registry
    ADD FOREIGN KEY (video_id) REFERENCES videos ON DELETE SET NULL,
    ADD FOREIGN KEY (replaces_id) REFERENCES file_registry;
ALTER TABLE file_lifecycle ADD FOREIGN KEY (file_id) REFERENCES file_registry ON DELETE CASCADE;
ALTER TABLE face_identities
    ADD FOREIGN KEY (best_detection_id) REFERENCES face_detections DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE face_clusters
    ADD FOREIGN KEY (video_id) REFERENCES videos ON DELETE CASCADE,
    ADD FOREIGN KEY (identity_id) REFERENCES face_identities;
ALTER TABLE face_detections
    ADD FOREIGN KEY (video_id, frame_number) REFERENCES frames ON DELETE CASCADE,
    ADD FOREIGN KEY (cluster_id) REFERENCES face_clusters ON DELETE SET NULL;
ALTER TABLE face_recognition_results
    ADD FOREIGN KEY (detection_id) REFERENCES face_detections ON DELETE CASCADE,
    ADD FOREIGN KEY (identity_id) REFERENCES face_identities;

CREATE UNIQUE INDEX videos_path ON videos (lower(file_path));
CREATE INDEX videos_unfinished ON videos (created_at) WHERE status IN ('registered', 'processing');
CREATE INDEX videos_owner ON videos (owner_email, created_at DESC);
CREATE INDEX videos_tags ON videos USING gin (tags);
CREATE INDEX videos_metadata ON videos USING gin (metadata jsonb_path_ops);
CREATE INDEX chunks_speaker ON chunks (speaker_id);
CREATE INDEX chunks_uuid ON chunks USING hash (uuid);
CREATE INDEX chunk_vectors_embedding ON chunk_vectors
    USING ivfflat (embedding public.vector_cosine_ops) WITH (lists = 20);
CREATE INDEX processor_results_running ON processor_results (video_id) WHERE finished_at IS NULL;
CREATE INDEX processor_results_video ON processor_results (video_id, started_at);
CREATE INDEX file_registry_video ON file_registry (video_id) INCLUDE (size);
CREATE INDEX file_lifecycle_file ON file_lifecycle (file_id);
CREATE UNIQUE INDEX face_identities_email ON face_identities (lower(email)) WHERE email IS NOT NULL;
CREATE UNIQUE INDEX face_identities_username ON face_identities (username);
CREATE INDEX face_clusters_video ON face_clusters (video_id);
CREATE INDEX face_detections_frame ON face_detections (video_id, frame_number);
CREATE INDEX face_detections_cluster ON face_detections (cluster_id);
CREATE INDEX face_recognition_results_detection ON face_recognition_results (detection_id);
CREATE UNIQUE INDEX api_keys_name ON api_keys (lower(name)) WHERE NOT revoked;
CREATE INDEX api_key_audit_log_key ON api_key_audit_log (api_key_id, happened_at);
CREATE INDEX monitor_checks_service ON monitor_checks (service_id, checked_at DESC);

CREATE TRIGGER videos_touch BEFORE UPDATE ON videos
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER chunks_touch BEFORE UPDATE ON chunks
    FOR EACH ROW WHEN (OLD.content IS DISTINCT FROM NEW.content)
    EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER file_registry_touch BEFORE UPDATE ON file_registry
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER face_identities_touch BEFORE UPDATE ON face_identities
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
