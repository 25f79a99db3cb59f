// The memory that all requests hold together: none may take it from the model.
#pragma once

#include <cstddef>
#include <mutex>

namespace flashmoe {

class RequestBytes {
 public:
  // From now on the process gives the memory of large requests back to the system when they end.
  explicit RequestBytes(size_t limit);

  // What one request holds, until it ends.
  class Holding {
   public:
    explicit Holding(RequestBytes& account) : account_(account) {}
    ~Holding();
    Holding(const Holding&) = delete;
    Holding& operator=(const Holding&) = delete;
    // From now on so many, unless it holds more. Throws ApiError 503 where that is more than the limit together with
    // others; alone it may be.
    void hold(size_t bytes);

   private:
    RequestBytes& account_;
    size_t bytes_ = 0;
  };

  size_t held() const;

 private:
  const size_t limit_;
  mutable std::mutex mutex_;
  size_t held_ = 0;
};

}  // namespace flashmoe
