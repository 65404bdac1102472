#include "io/serve/page_server.h"

#include <httplib.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "io/reports/embedded_arrays.h"
#include "io/reports/map_style.h"
#include "io/reports/page.h"
#include "kernels/error.h"

namespace eelsvae {
namespace {

constexpr const char* local = "127.0.0.1";

std::string page_text() {
  std::vector<uint8_t> palette;
  for (const Colour& colour : viridis()) palette.insert(palette.end(), colour.begin(), colour.end());
  return render_page("live.html", {{"title", "eelsvae: running scan"}, {"palette", base64(palette)}});
}

}  // namespace

struct PageServer::Parts {
  httplib::Server server;
  int port = 0;
  std::thread thread;
};

PageServer::PageServer(const LiveView& view, int64_t port) : parts_(std::make_unique<Parts>()) {
  httplib::Server& server = parts_->server;
  // A connection for each request: a browser that keeps one would keep a thread.
  server.set_keep_alive_max_count(1);
  server.set_read_timeout(2);
  server.set_payload_max_length(0);
  server.new_task_queue = [] { return new httplib::ThreadPool(4); };
  // A second service at the same port is an error, not a partner.
  server.set_socket_options([](socket_t socket) {
    const int yes = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
  if (port == 0)
    parts_->port = server.bind_to_any_port(local);
  else if (server.bind_to_port(local, static_cast<int>(port)))
    parts_->port = static_cast<int>(port);
  if (parts_->port <= 0)
    throw UserError("cannot listen at port " + std::to_string(port) +
                    " for the page; another program may have it: --page with another port");
  const std::string name = ":" + std::to_string(parts_->port);
  server.set_pre_routing_handler([name](const httplib::Request& request, httplib::Response& response) {
    const std::string host = request.get_header_value("Host");
    if ((host == local + name || host == "localhost" + name) && request.method == "GET")
      return httplib::Server::HandlerResponse::Unhandled;
    response.status = 403;
    return httplib::Server::HandlerResponse::Handled;
  });
  const httplib::Headers headers = {{"Cache-Control", "no-store"}, {"X-Content-Type-Options", "nosniff"}};
  server.set_default_headers(headers);
  const std::string page = page_text();
  server.Get("/", [page](const httplib::Request&, httplib::Response& response) {
    response.set_content(page, "text/html; charset=utf-8");
  });
  server.Get("/changes", [&view](const httplib::Request& request, httplib::Response& response) {
    const std::string since = request.get_param_value("since");
    const int64_t version = std::strtoll(since.c_str(), nullptr, 10);
    response.set_content(
        view.changes_since(version).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace),
        "application/json");
  });
  parts_->thread = std::thread([&server] { server.listen_after_bind(); });
  while (!server.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

PageServer::~PageServer() {
  parts_->server.stop();
  parts_->thread.join();
}

std::string PageServer::url() const {
  return "http://" + std::string(local) + ":" + std::to_string(parts_->port) + "/";
}

}  // namespace eelsvae
