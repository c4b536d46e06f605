/**
 * Client of polybatch: one JSONL file of requests in, one JSONL file of results out.
 *
 * <p>{@link io.polybatch.client.PolybatchClient} is where to begin. Messages such as {@code
 * polybatch.v1.Batches.Batch} are generated from the services' own definitions; the comments there
 * say what each field holds.
 */
package io.polybatch.client;
