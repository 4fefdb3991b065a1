<?php
// The application of the matrix for php-fpm and php-cgi.
http_response_code((int) ($_GET['status'] ?? 200));
header('Content-Type: text/plain');
if (isset($_GET['location'])) {
    header('Location: ' . $_GET['location'], true, (int) $_GET['status']);
}
if (isset($_GET['cookies'])) {
    header('Set-Cookie: a=1; Path=/', false);
    header('Set-Cookie: b=2', false);
}
if (isset($_GET['stderr'])) {
    error_log($_GET['stderr']);
}
if (isset($_GET['lines'])) {
    for ($number = 1; $number <= ($_GET['count'] ?? PHP_INT_MAX); $number++) {
        echo str_repeat('x', $_GET['width'] - 1), "\n";
        flush();
        usleep($_GET['lines'] * 1000);
    }
    exit;
}
foreach (['HTTP_COOKIE', 'QUERY_STRING', 'REQUEST_METHOD'] as $name) {
    echo $name, '=', $_SERVER[$name] ?? '', "\n";
}
echo "\n", file_get_contents('php://input');
