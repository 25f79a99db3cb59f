#include "base/thread.h"

#include <cstring>
#include <utility>

#include "base/address_space.h"
#include "base/check.h"
#include "base/error.h"

namespace flashmoe {
namespace {

void* run(void* work) noexcept {
  (*static_cast<std::function<void()>*>(work))();
  return nullptr;
}

}  // namespace

Thread::Thread(std::function<void()> work) : work_(std::make_unique<std::function<void()>>(std::move(work))) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  const int error = pthread_create(&id_, &attributes, run, work_.get());
  pthread_attr_destroy(&attributes);
  if (error != 0) {
    fail(Fault::io, "cannot start a thread ({}; {})", std::strerror(error),
         mend_of_refusal("use fewer (--threads), or raise the limit on processes (ulimit -u)"));
  }
}

Thread::~Thread() { CHECK(!joinable()); }

Thread& Thread::operator=(Thread&& other) noexcept {
  CHECK(!joinable());
  work_ = std::move(other.work_);
  id_ = other.id_;
  return *this;
}

void Thread::join() {
  CHECK(joinable());
  CHECK(pthread_join(id_, nullptr) == 0);
  work_ = nullptr;
}

}  // namespace flashmoe
