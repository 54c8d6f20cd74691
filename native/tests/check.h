// The smallest test harness: CHECK counts, report() prints and gives main() its exit status.
#pragma once

#include <cstdio>

namespace penstock_test {

inline int checks = 0, failures = 0;

inline void check(bool ok, const char* text, const char* file, int line) {
  ++checks;
  if (ok) return;
  ++failures;
  std::printf("%s:%d: failed: %s\n", file, line, text);
}

inline int report(const char* name) {
  std::printf("%s: %d checks, %d failed\n", name, checks, failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace penstock_test

#define CHECK(condition) ::penstock_test::check(static_cast<bool>(condition), #condition, __FILE__, __LINE__)
