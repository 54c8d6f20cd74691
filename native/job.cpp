#include "job.h"

#include <algorithm>

namespace penstock {
namespace {

constexpr size_t kViewAlignment = 64;

size_t aligned(size_t bytes) { return (bytes + kViewAlignment - 1) / kViewAlignment * kViewAlignment; }

}  // namespace

void* Job::slot(size_t row) const {
  if (!buffer) return nullptr;
  return buffer->data + row * (plan->views.empty() ? plan->image_bytes(plan->size) : plan->views[0].row_bytes());
}

size_t Job::batch_bytes() const {
  const size_t most = static_cast<size_t>(std::max(rows, capacity));
  if (plan->views.empty()) return plan->image_bytes(plan->size) * most;
  size_t bytes = 0;
  for (const View& each : plan->views) bytes += aligned(each.row_bytes() * most);
  return bytes;
}

uint8_t* Job::view(size_t number) const {
  const size_t most = static_cast<size_t>(std::max(rows, capacity));
  uint8_t* data = buffer->data;
  for (size_t before = 0; before < number; ++before) data += aligned(plan->views[before].row_bytes() * most);
  return data;
}

const Plan& Job::part(size_t row) const {
  return plan->parts.empty() ? *plan : *plan->parts[static_cast<size_t>(results[row].part)];
}

Target Job::target(size_t row) const {
  const Plan& now = part(row);
  Target made(now.goes_on && !now.in_slot ? nullptr : slot(row));
  for (size_t number = 0; number < plan->views.size(); ++number) {
    const View& each = plan->views[number];
    uint8_t* first = view(number) + row * each.row_bytes();
    for (int copy = 0; copy < each.copies; ++copy) {
      made.copies.push_back(first + static_cast<size_t>(copy) * each.plan->image_bytes(each.plan->size));
    }
  }
  return made;
}

}  // namespace penstock
