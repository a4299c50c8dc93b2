package org.csrm.opensearch;

import java.util.List;

/**
 * What csrm_window leaves for csrm_filter: the page that the client asked for, and what was fetched instead.
 *
 * @param from first place of the client's page
 * @param size places of the client's page
 * @param window how many of the first hits are judged
 * @param query the shopper's text
 * @param fields whose values are a product's text
 * @param added those fields that the client did not ask for, to be taken out again
 */
record Window(int from, int size, int window, String query, List<String> fields, List<String> added) {
  static final String KEY = "csrm.window";
}
