// What `submit` shows to people.
#pragma once

#include <polybatch/client.h>

#include <string>

// Writes a line to stderr. Ids, models and messages come from files and providers, and a terminal
// would obey them: control characters, and bytes that are not UTF-8, are shown as "?".
void say(const std::string& text);

// Lines of an ended batch that did not succeed.
long long unsuccessful(const polybatch::v1::Batch& batch);

class Progress {
 public:
  // Says a snapshot where it says more than counts that have moved on.
  void show(const polybatch::v1::Batch& batch);

 private:
  std::string shown_;
};
