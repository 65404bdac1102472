#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "io/serve/live_view.h"

namespace eelsvae {

// The live page, for browsers on this machine: "/" is the page (io/reports/report_page/live.html), which asks
// "/changes?since=VERSION" several times a second. Answers to requests for 127.0.0.1 and localhost only, so
// that no other site can have a browser read it.
class PageServer {
 public:
  // port 0: any that is free. The view outlives this. UserError if the port cannot be had.
  PageServer(const LiveView& view, int64_t port);
  ~PageServer();
  PageServer(const PageServer&) = delete;
  PageServer& operator=(const PageServer&) = delete;

  std::string url() const;  // "http://127.0.0.1:5726/"

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace eelsvae
