#include "base/function_ref.h"

#include <gtest/gtest.h>

namespace flashmoe {
namespace {

int twice(FunctionRef<int(int)> f, int value) { return f(f(value)); }

TEST(FunctionRef, CallsTheBorrowedObjectItself) {
  int calls = 0;
  const auto add_three = [&calls](int value) {
    ++calls;
    return value + 3;
  };
  EXPECT_EQ(twice(add_three, 10), 16);
  EXPECT_EQ(calls, 2);

  struct Counter {
    int n = 0;
    int operator()(int value) { return value + ++n; }
  } counter;
  EXPECT_EQ(twice(counter, 0), 3);
  EXPECT_EQ(counter.n, 2);  // not a copy
}

TEST(FunctionRef, ACopyRefersToTheSameObject) {
  int value = 1;
  const auto read = [&value] { return value; };
  const FunctionRef<int()> first = read;
  const FunctionRef<int()> second = first;
  value = 7;
  EXPECT_EQ(first(), 7);
  EXPECT_EQ(second(), 7);
}

}  // namespace
}  // namespace flashmoe
