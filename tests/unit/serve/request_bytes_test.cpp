#include "serve/request_bytes.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "serve/api_error.h"

namespace flashmoe {
namespace {

TEST(RequestBytes, AreHeldUntilTheEnd) {
  RequestBytes account(100);
  {
    RequestBytes::Holding first(account), second(account);
    first.hold(60);
    second.hold(30);
    second.hold(40);
    second.hold(10);
    EXPECT_EQ(account.held(), 100U);
    try {
      second.hold(41);
      FAIL();
    } catch (const ApiError& error) {
      EXPECT_EQ(error.status, 503);
    }
    EXPECT_EQ(account.held(), 100U);
  }
  EXPECT_EQ(account.held(), 0U);
}

TEST(RequestBytes, OneAloneMayHoldMore) {
  RequestBytes account(100);
  RequestBytes::Holding large(account), other(account);
  large.hold(80);
  large.hold(160);
  EXPECT_THROW(other.hold(1), ApiError);
  EXPECT_EQ(account.held(), 160U);
}

TEST(RequestBytes, ThreadsNeverHoldMoreTogether) {
  RequestBytes account(100);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 1000; ++n) {
        RequestBytes::Holding holding(account);
        try {
          for (size_t bytes = 20; bytes <= 80; bytes += 20) holding.hold(bytes);
        } catch (const ApiError&) {
        }
        EXPECT_LE(account.held(), 100U);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(account.held(), 0U);
}

}  // namespace
}  // namespace flashmoe
